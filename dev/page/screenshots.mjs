// The pictures of docs/debugger.md and the README, from the running page. `make screenshots`
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const DOCS = join(dirname(fileURLToPath(import.meta.url)), '../../docs');

async function open(page, site, sample) {
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.goto(site.url);
  await page.waitForSelector('html[data-ready]');
  await page.getByLabel('Function key').fill(site.functionKey);
  await page.waitForSelector('html[data-state=answered]');
  await page.locator('#sample').selectOption({ label: sample });
  await page.waitForSelector('html[data-state=answered]');
}

async function save(page, name, clip) {
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: join(DOCS, name), clip, animations: 'disabled', caret: 'hide' });
}

export async function overview(page, site) {
  await open(page, site, 'Three readings of an hour');
  await page.setViewportSize({ width: 1280, height: 1120 });
  await save(page, 'debugger.png');
}

export async function findings(page, site) {
  await open(page, site, 'Mistakes to mend');
  await page.locator('#finding-list .jump').nth(2).click();
  await save(page, 'debugger-findings.png', { x: 0, y: 90, width: 1280, height: 640 });
}

export async function trace(page, site) {
  await open(page, site, 'Mistakes to mend');
  await page.locator('#finding-list .fix').first().click();
  await page.waitForSelector('html[data-state=answered]');
  const value = page.locator('#message .cm-line', { hasText: '"temp": 98.6' });
  await value.scrollIntoViewIfNeeded();
  const box = await value.boundingBox();
  await page.mouse.move(box.x + 60, box.y + box.height / 2);
  await page.mouse.move(box.x + 70, box.y + box.height / 2);
  await page.locator('#message .steps').waitFor();
  await save(page, 'debugger-trace.png', { x: 0, y: 90, width: 1280, height: 640 });
}

export async function dark(page, site) {
  await open(page, site, 'Start mapping');
  await page.locator('#theme').selectOption('dark');
  await page.setViewportSize({ width: 390, height: 844 });
  await save(page, 'debugger-phone.png');
}
