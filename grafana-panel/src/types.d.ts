/** Style sheets are bundled as text. */
declare module '*.css' {
  const text: string;
  export default text;
}

/**
 * The AMD module object of the plugin itself: its `uri` says where Grafana loaded it from, under any
 * sub-path or CDN.
 */
declare module 'amd-module' {
  const module: { uri?: string } | undefined;
  export default module;
}

/** What the panel uses of Grafana's components, which Grafana itself provides. */
declare module '@grafana/ui' {
  import type { ReactElement, ReactNode } from 'react';
  export function Portal(props: { children: ReactNode }): ReactElement;
  export function VizTooltipContainer(props: {
    position: { x: number; y: number };
    offset: { x: number; y: number };
    children?: ReactNode;
  }): ReactElement;
}
