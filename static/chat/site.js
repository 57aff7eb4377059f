// Where this site is: it may share its host with others.

/** The path below which all its addresses are. It begins and ends with a slash. */
export const { root = "/" } = document.documentElement.dataset;
