/**
 * Sentences for the user, translated where the page around can: inside Grafana by its i18n, in the console
 * not at all. Names in double braces are filled in; they are data and never markup.
 */
export type Values = Record<string, string | number>;
export type Translate = (id: string, english: string, values?: Values) => string;

const inEnglish: Translate = (_id, english, values) =>
  english.replace(/\{\{(\w+)\}\}/g, (_all, name: string) => String(values?.[name] ?? ''));

let translate: Translate = inEnglish;

export function setTranslate(by: Translate): void {
  translate = by;
}

export const t: Translate = (id, english, values) => translate(id, english, values);
