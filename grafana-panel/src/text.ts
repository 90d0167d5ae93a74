/**
 * Sentences for the user, translated where the page around can: inside Grafana by its i18n, in the console
 * not at all. Names in double braces are filled in; they are data and never markup.
 */
export type Values = Record<string, string | number>;
export type Translate = (id: string, english: string, values?: Values) => string;
/** The same for a sentence with a number, `count`, in the language's plural forms. */
export type TranslatePlural = (id: string, one: string, other: string, values: Values & { count: number }) => string;

export interface Language {
  t: Translate;
  tn: TranslatePlural;
  /** BCP 47 tag, for numbers and times. */
  tag: string;
}

function fill(text: string, values?: Values): string {
  return text.replace(/\{\{(\w+)\}\}/g, (_all, name: string) => String(values?.[name] ?? ''));
}

const english: Language = {
  t: (_id, text, values) => fill(text, values),
  tn: (_id, one, other, values) => fill(values.count === 1 ? one : other, values),
  tag: 'en',
};

let spoken: Language = english;

export function speak(language: Language): void {
  spoken = language;
}

/** For numbers and times. */
export const languageTag = (): string => spoken.tag;

export const t: Translate = (id, text, values) => spoken.t(id, text, values);
export const tn: TranslatePlural = (id, one, other, values) => spoken.tn(id, one, other, values);
