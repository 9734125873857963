// Times as people read them. All arguments are milliseconds; `now` is never read from a clock here.

const two = (number) => String(number).padStart(2, "0");

/** A time in the reader's zone: only the clock if it is of the same day as `now`. */
export function localTime(at, now) {
  const time = new Date(at);
  const clock = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  if (now !== undefined && new Date(now).toDateString() === time.toDateString()) return clock;
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} ${clock}`;
}

/** A time in UTC, as RFC 3339 has it. A time that no calendar has is shown as its number. */
export function utcTime(at) {
  const time = new Date(at);
  return Number.isNaN(time.getTime()) ? `${at} ms` : time.toISOString();
}

/** A length of time in its two largest units: 3 d 4 h, 5 min 2 s. Never negative. */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}

/** A time that a person typed in the zone of the reader, as milliseconds; null if it is none. */
export function parseLocal(text) {
  if (!text) return null;
  const at = new Date(text).getTime();
  return Number.isNaN(at) || at < 0 ? null : at;
}

/** A time as the field of a date and time has it, in the zone of the reader. */
export function toField(at) {
  if (at === null || at === undefined) return "";
  const time = new Date(Number(at));
  if (Number.isNaN(time.getTime())) return "";
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}T${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}
