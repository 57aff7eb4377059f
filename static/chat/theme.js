// Runs before the first paint: the theme that was chosen, and the time zone in which the list says
// "Today".
"use strict";

{
  const root = document.documentElement;
  // Other installations may be served from the same address in turn, or from other ports, which
  // cookies don't tell apart.
  const { installation } = root.dataset;
  const key = `fleet:${installation}:theme`;
  const stored = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // storage is switched off
    }
  };
  /** @param {string | null} theme */
  const show = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  };
  show(stored());

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) {
    const kept = "path=/; max-age=31536000; SameSite=Lax";
    document.cookie = `fleet_zone_${installation}=${encodeURIComponent(zone)}; ${kept}`;
  }

  document.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (!target.closest?.('[data-action="theme"]')) return;
    const isDark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const theme = isDark ? "light" : "dark";
    show(theme);
    try {
      localStorage.setItem(key, theme);
    } catch {
      // It still holds for this page.
    }
  });
}
