/** What the page around gives a view. */
import type { Details } from '../details';
import type { LegendNotes, Looks } from '../looks';
import type { Renderer } from '../options';
import type { TimelineSamples } from '../samples';

export interface ViewTheme {
  dark: boolean;
  /** CSS colours of the surroundings. */
  background: string;
  raised: string;
  text: string;
  muted: string;
}

export interface ViewOptions {
  showCauses: boolean;
  showLegend: boolean;
  showToolbar?: boolean;
  showTimeline?: boolean;
  renderer?: Renderer;
  /** Said where there is no service at all. */
  emptyHint: string;
  /** Where an incident is explained. */
  incidentUrl?: (incident: string) => string;
}

/** What comes with the samples. */
export interface Extra {
  timeline?: TimelineSamples;
  /** Sentences about what was wrong with the data. */
  notes?: string[];
  details?: Details;
  looks?: Looks;
  legend?: LegendNotes;
  /** Where the icons that looks name lie, with a closing slash. */
  icons?: string;
}
