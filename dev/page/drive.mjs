// Plays the scenarios of a module on the page: a line {scenario, url, functionKey, adminKey} in, a line {faults} out.
//
// Every console error, uncaught error, report of the Content-Security-Policy and request to another host is a fault.
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

import { launch } from './browser.mjs';

const scenarios = await import(pathToFileURL(process.argv[2]).href);
const browser = await launch();

for await (const line of createInterface({ input: process.stdin })) {
  const { scenario, ...site } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify({ faults: await play(scenarios[scenario], site) })}\n`);
}
await browser.close();

async function play(scenario, site) {
  const faults = [];
  const context = await browser.newContext({ viewport: { width: 1400, height: 900 }, acceptDownloads: true });
  const page = await context.newPage();
  await page.addInitScript(() =>
    document.addEventListener('securitypolicyviolation', (event) =>
      console.error(`Content-Security-Policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`),
    ),
  );
  page.on('console', (message) => message.type() === 'error' && !page.tolerated?.test(message.text()) && faults.push(`console: ${message.text()} ${message.location().url}`));
  page.on('pageerror', (error) => faults.push(`uncaught: ${error.stack}`));
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (['http:', 'https:'].includes(protocol) && origin !== new URL(site.url).origin) faults.push(`asks ${request.url()}`);
  });
  page.setDefaultTimeout(20_000);
  try {
    await scenario(page, site);
  } catch (error) {
    faults.push(error.stack ?? String(error));
  }
  await context.close();
  return faults;
}
