// What a message of 1 MiB costs on the page. `make page-bench`
import { readFile, writeFile } from 'node:fs/promises';

export async function measure(page, site) {
  page.setDefaultTimeout(120_000);
  await page.addInitScript(() => {
    globalThis.longTasks = [];
    const note = (list) => globalThis.longTasks.push(...list.getEntries().map((entry) => entry.duration));
    new PerformanceObserver(note).observe({ type: 'longtask' });
  });
  const { message, report } = JSON.parse(await readFile(process.env.PAGE_BENCH, 'utf8'));
  await page.goto(site.url);
  await page.waitForSelector('html[data-ready]');
  await page.getByLabel('Function key').fill(site.functionKey);
  await page.waitForSelector('html[data-state=answered]');
  const answers = [];
  for (let run = 0; run < 3; run += 1) {
    await page.evaluate(() => (globalThis.longTasks.length = 0));
    const answer = page.waitForResponse((response) => response.url().endsWith('/validate') && response.request().postDataBuffer().length > 1024 * 1024);
    await page.locator('#files').setInputFiles({ name: 'large.json', mimeType: 'application/json', buffer: Buffer.from(`${message}${' '.repeat(run)}`) });
    const response = await answer;
    await response.finished();
    await page.waitForSelector('html[data-state=answered]');
    const { responseEnd } = response.request().timing();
    answers.push({ answerMs: Math.round(responseEnd), longTasksMs: await page.evaluate(() => globalThis.longTasks.map(Math.round)) });
  }
  await writeFile(report, JSON.stringify(answers));
}
