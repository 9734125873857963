// What the browser keeps of a run while this tab is open. A browser that keeps nothing for pages loses only the offer.

const KEPT = "sleep-run";

function attempt(act) {
  try {
    return act();
  } catch {
    return null;
  }
}

export const keptRun = {
  read: () => attempt(() => sessionStorage.getItem(KEPT)),
  write: (text) => attempt(() => sessionStorage.setItem(KEPT, text)),
  forget: () => attempt(() => sessionStorage.removeItem(KEPT)),
};
