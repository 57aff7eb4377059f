// What this browser and this tab keep: apart for each installation, because one may follow another
// at the same address.

const { installation = "" } = document.documentElement.dataset;

/** A storage that may be switched off or full; what it does not keep still holds for this page. */
class Store {
  /** @param {() => Storage} storage */
  constructor(storage) {
    this.storage = storage;
  }

  /** @param {string} name */
  get(name) {
    try {
      return this.storage().getItem(keyOf(name));
    } catch {
      return null;
    }
  }

  /**
   * @param {string} name
   * @param {string | null} value null removes it
   */
  set(name, value) {
    try {
      if (value === null) this.storage().removeItem(keyOf(name));
      else this.storage().setItem(keyOf(name), value);
    } catch {
      // As the class says.
    }
  }
}

/** @param {string} name */
export function keyOf(name) {
  return `fleet:${installation}:${name}`;
}

export const inBrowser = new Store(() => localStorage);
export const inTab = new Store(() => sessionStorage);
