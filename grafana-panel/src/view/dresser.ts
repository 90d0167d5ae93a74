/** Hands the module what the data says about looks; icons follow when Grafana has delivered them. */
import { fetchIcons, iconPath } from '../icons';
import { isPlain, type Looks } from '../looks';
import type { Panel } from '../wasm';

export class Dresser {
  private latest: Looks | undefined;
  private dressed = '';
  private gone = false;

  /** `changed` is told when icons have come. */
  constructor(
    private readonly panel: Panel,
    private readonly changed: () => void,
  ) {}

  /** `icons` is the folder that icons named in the looks lie in. */
  dress(looks: Looks | undefined, icons: string | undefined): void {
    this.latest = looks && !isPlain(looks) ? looks : undefined;
    this.hand();
    const named = Object.values(this.latest?.nodes ?? {}).flatMap(({ icon }) => (icon ? [icon] : []));
    if (named.length > 0 && icons !== undefined) {
      void fetchIcons(named, icons).then((came) => {
        if (came && !this.gone) {
          this.hand();
          this.changed();
        }
      });
    }
  }

  stop(): void {
    this.gone = true;
  }

  private hand(): void {
    const looks = this.latest;
    const drawn = Object.entries(looks?.nodes ?? {}).map(([id, look]) => [id, { ...look, icon: look.icon && iconPath(look.icon) }]);
    const text = looks ? JSON.stringify({ ...looks, nodes: Object.fromEntries(drawn) }) : '';
    if (text !== this.dressed) {
      this.dressed = text;
      this.panel.dress(text);
    }
  }
}
