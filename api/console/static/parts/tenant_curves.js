// A tenant over time: its states, and its six parameters.

import { html, State, Time } from "./ui.js";
import { Curve } from "./curve.js";
import { parametersAt, present } from "../pure/states.js";
import { stepsOf } from "../pure/timeline.js";

/** The states of the past by the audit, the state now, and those of the forecast. */
export function Timeline({ shown, rows, now }) {
  const steps = stepsOf(shown, rows, now);
  const label = steps.map((step) => `${step.state} at ${new Date(step.at).toISOString()}`).join(", ");
  const depth = { active: 0, light: 1, deep: 2, freeze: 3 };
  const points = steps.map((step) => [step.at, depth[step.state]]);
  return html`<${Curve} points=${points} label=${`States over time: ${label}`} steps=${true} mark=${now} low=${0} high=${3} />
    <ol class="rows">${steps.filter((step) => step.kind !== "edge").map((step) => html`<li class=${step.kind}><span class="tag">${step.kind}</span> <${Time} at=${step.at} now=${now} /> <${State} state=${step.state} /></li>`)}</ol>
    ${shown.forecast.length === 0 && html`<p class="hint">No change is forecast.</p>`}`;
}

const MEANINGS = {
  K: "K",
  t: "t",
  tau: "tau (τ)",
  eta: "eta (η)",
  lambda: "lambda (λ)",
  B: "B",
};
const SAMPLES = 60;

/** The parameters now and at the end of the ramp, with their way from the last change to the end of the forecast. */
export function Parameters({ shown, record, now }) {
  const curves = record === null ? null : sampled(record, now);
  return html`<table class="numbers"><thead><tr><th scope="col">parameter</th><th scope="col">now</th><th scope="col">target</th><th scope="col">course</th></tr></thead>
    <tbody>${Object.keys(shown.parameters).map((name) => html`<tr><th scope="row">${MEANINGS[name] ?? name}</th>
      <td>${number(curves ? curves.now[name] : shown.parameters[name])}</td><td>${number(shown.target_parameters[name])}</td>
      <td>${curves ? html`<${Curve} points=${curves.points.map(([at, values]) => [at, values[name]])} label=${`${name} from ${number(curves.points[0][1][name])} to ${number(curves.points.at(-1)[1][name])}`} height=${28} mark=${now} />` : "constant"}</td></tr>`)}</tbody></table>`;
}

function sampled(record, now) {
  const ramps = [record.parameters, ...record.forecast.map((entry) => entry.parameters)];
  const left = Math.min(record.parameters.starts_at, now) - 5000;
  const right = Math.max(...ramps.map((ramp) => ramp.ends_at), now) + 5000;
  const at = (time) => parametersAt(present(record, time).parameters, time);
  const points = [];
  for (let i = 0; i <= SAMPLES; i += 1) {
    const time = left + ((right - left) * i) / SAMPLES;
    points.push([time, at(time)]);
  }
  return { points, now: at(now) };
}

function number(value) {
  return Number.isInteger(value) ? String(value) : Number(value.toPrecision(4)).toString();
}
