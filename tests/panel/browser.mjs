// Chromium, and what the tests ask of a page.
import { chromium } from 'playwright-core';
import { until } from './prometheus.mjs';

const FLAGS =
  '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking ' +
  '--disable-component-update --disable-sync';

/** What a page is waited for at most, in milliseconds: a busy machine takes many times as long as a quiet one. */
const PATIENCE_MS = 120_000;

/** Grafana's own fonts and icons are not among its npm packages. */
const FONTS = /\/public\/(fonts|build\/img)\//;

const start = (flags) =>
  chromium.launch({ executablePath: process.env.QUOLL_CHROMIUM ?? '/usr/bin/chromium', args: flags.split(' '), timeout: PATIENCE_MS });

export const launch = () => start(FLAGS);

/** With WebGL computed on the processor. */
export const launchWithWebGl = () =>
  start(`${FLAGS.replace('--disable-gpu ', '')} --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader`);

/** A page whose console errors and failed requests are kept in `problems`. */
export async function openPage(browser, url, { colorScheme = 'dark', ratio = 1, width = 1280, height = 800, hasTouch = false } = {}) {
  const context = await browser.newContext({
    colorScheme,
    deviceScaleFactor: ratio,
    viewport: { width, height },
    hasTouch,
    reducedMotion: 'reduce',
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.problems = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && !FONTS.test(message.location().url)) {
      page.problems.push(message.text());
    }
  });
  page.on('response', (response) => {
    if (response.status() >= 400 && !FONTS.test(response.url())) {
      page.problems.push(`${response.status()} ${response.url()}`);
    }
  });
  page.on('pageerror', (error) => page.problems.push(String(error)));
  await page.goto(url);
  return page;
}

/** Waits for two frames: in the first one parts that changed their size are told so, in the second they are painted. */
export const frames = (page) =>
  page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));

/** Waits for the harness' panel to have drawn what it was given last, and for its parts to have found their sizes. */
export async function shown(page) {
  await until('the panel to draw what it was given', () => page.evaluate(() => window.harness.shown()));
  await frames(page);
}

/** The tooltip, once it tells about this. */
export function tooltip(page, title) {
  const tip = page.getByTestId('quoll-tooltip');
  return until(`the tooltip of ${title}`, async () => {
    const text = await tip.innerText({ timeout: 1000 });
    return text.startsWith(title) && text;
  });
}

/** RGBA at points given in CSS pixels of the panel's canvas. */
export function pixels(page, points) {
  return page.evaluate((wanted) => {
    const canvas = document.querySelector('.quoll-stage canvas:not(.quoll-shapes)');
    const ratio = canvas.width / canvas.clientWidth;
    const { data, width, height } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return wanted.map(([x, y]) => {
      const column = Math.min(width - 1, Math.max(0, Math.round(x * ratio)));
      const row = Math.min(height - 1, Math.max(0, Math.round(y * ratio)));
      return [...data.slice((row * width + column) * 4, (row * width + column) * 4 + 4)];
    });
  }, points);
}

export const rgb = (hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16));
export const differ = (a, b) => Math.max(...a.slice(0, 3).map((channel, at) => Math.abs(channel - b[at])));
