// What the page shows of a comparison. What each scenario finds in storage, test_comparison.py has put there.
import assert from 'node:assert/strict';

import { sound } from './scenarios.mjs';

async function open(page, site) {
  await page.goto(site.url);
  await page.waitForSelector('html[data-ready]');
}

async function load(page, site, key = site.adminKey) {
  await open(page, site);
  await page.getByLabel('Admin key').fill(key);
  await page.getByRole('button', { name: 'Comparison' }).click();
}

const panel = (page) => page.locator('#comparison');

/** Opens the example whose title begins so. */
async function show(page, title) {
  await page.locator('#comparison-list .card', { hasText: title }).getByRole('button').click();
  await page.locator('dialog').waitFor();
}

const part = (page, name) => page.locator(`dialog [data-element="${name}"]`);

const sides = (page, name) => part(page, name).locator('td').allInnerTexts();

const differing = (page) => page.locator('dialog [data-differs]').evaluateAll((all) => all.map((each) => each.dataset.element));

export async function an_app_that_does_not_compare_says_so(page, site) {
  await load(page, site);
  await panel(page).getByText('the app does not compare: FHIR_WRITE is not compare').waitFor();
  await sound(page);
}

export async function nothing_was_compared_yet(page, site) {
  await load(page, site);
  await panel(page).getByText('Nothing was compared yet.').waitFor();
  assert.equal(await page.locator('#compared').count(), 0);
  await sound(page);
}

export async function what_was_found_before_the_switch_is_still_shown(page, site) {
  await load(page, site);
  await panel(page).getByText('The app does not compare now.').waitFor();
  await page.locator('#compared').waitFor();
}

export async function without_a_difference_all_are_the_same(page, site) {
  await load(page, site);
  await panel(page).getByText('All 3 Observations are the same.').waitFor();
  assert.equal(await page.getByRole('heading', { name: 'Examples' }).count(), 0);
}

export async function a_missing_or_wrong_key_is_refused_and_shows_nothing(page, site) {
  page.tolerated = /status of 401/;
  await load(page, site);
  await page.locator('#compared').waitFor();
  for (const [key, reason] of [['', 'Type a key of the app'], ['wrong', 'The app does not take this key.'], [site.functionKey, 'The app does not take this key.']]) {
    await page.getByLabel('Admin key').fill(key);
    await page.getByRole('button', { name: 'Comparison' }).click();
    await page.locator('#notice', { hasText: reason }).waitFor();
    assert.ok(await panel(page).isHidden());
  }
}

export async function storage_that_is_away_is_told(page, site) {
  page.tolerated = /status of 503/;
  await load(page, site);
  await page.locator('#notice', { hasText: /storage/i }).waitFor();
  assert.ok(await panel(page).isHidden());
}

export async function types_are_counted(page, site) {
  await load(page, site);
  await panel(page).getByText('Of 6 Observations 2 are absent and 3 different.').waitFor();
  const row = await page.locator('#compared tr', { hasText: 'heartRate' }).locator('th, td').allInnerTexts();
  assert.deepEqual(row, ['heartRate', '3', '1', '1', '1', '2022-03-12 12:00', '2022-03-13 12:00']);
  await panel(page).getByText('There are more than these examples.').waitFor({ state: 'detached' });
  await sound(page);
  await page.locator('#theme').selectOption('dark');
  await sound(page);
}

export async function values_are_asked_for_one_difference_at_a_time(page, site) {
  const asked = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
  await load(page, site);
  await page.locator('#compared').waitFor();
  assert.deepEqual(asked.filter((path) => path.startsWith('/api/comparison')), ['/api/comparison']);
  assert.ok(!(await panel(page).innerText()).includes('98.60'));
  await show(page, 'heartRate, different');
  assert.equal(asked.filter((path) => path.startsWith('/api/comparison/')).length, 1);
  await page.getByRole('button', { name: 'Close' }).click();
  await page.locator('dialog').waitFor({ state: 'detached' });
  assert.ok(!(await page.content()).includes('98.60'), 'no value stays in the page');
}

export async function both_sides_are_next_to_each_other_with_what_differs_first(page, site) {
  await load(page, site);
  await show(page, 'heartRate, different: code, effective, value');
  assert.deepEqual(await differing(page), ['code', 'effective', 'value']);
  assert.deepEqual(await sides(page, 'value'), [
    '"valueQuantity": {\n  "value": 98.60,\n  "unit": "/min"\n}',
    '"valueQuantity": {\n  "value": 98.7,\n  "unit": "/min"\n}',
  ]);
  assert.deepEqual((await part(page, 'value').locator('mark').allInnerTexts()).map((each) => each.trim()), ['"value": 98.60,', '"value": 98.7,']);
  // Not by colour alone.
  assert.equal(await part(page, 'code').locator('th').innerText(), 'code: differs');
  assert.deepEqual(await sides(page, 'meta'), ['–', '{\n  "versionId": "3"\n}']);
  const nextToEachOther = async () => {
    const [left, right] = await part(page, 'value').locator('td').all();
    const [ours, stored] = [await left.boundingBox(), await right.boundingBox()];
    const { width } = page.viewportSize();
    assert.ok(ours.y === stored.y && ours.x + ours.width <= stored.x + 1 && stored.x + stored.width <= width);
  };
  await nextToEachOther();
  await sound(page);
  await page.setViewportSize({ width: 360, height: 740 });
  await nextToEachOther();
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 360);
  await sound(page);
}

export async function components_are_matched_by_their_codes(page, site) {
  await load(page, site);
  await show(page, 'bloodPressure, different');
  assert.deepEqual(await differing(page), ['component:systolic', 'component:0']);
  const [ours, stored] = await sides(page, 'component:systolic');
  assert.match(ours, /"value": 121\b/);
  assert.match(stored, /"value": 122\b/);
  // The store's one has no name, and stands first.
  const [own, other] = await sides(page, 'component:0');
  assert.match(own, /"value": 79\b/);
  assert.match(other, /"value": 80\b/);
  assert.deepEqual((await sides(page, 'component:mean'))[0], '–');
}

export async function what_is_absent_has_one_side(page, site) {
  await load(page, site);
  await show(page, 'heartRate, absent');
  await page.locator('dialog').getByText('No such Observation is stored.').waitFor();
  assert.deepEqual(await differing(page), []);
  assert.deepEqual(await sides(page, 'status'), ['"final"', '–']);
}

export async function sides_that_were_too_large_are_said_to_be(page, site) {
  await load(page, site);
  await show(page, 'large, absent');
  await page.locator('dialog').getByText('Both sides together were too large to be kept.').waitFor();
}

export async function hostile_texts_stay_texts(page, site) {
  await load(page, site);
  const card = page.locator('#comparison-list .card', { hasText: '<img src=x onerror=alert(1)>' });
  assert.match(await card.locator('h3').innerText(), /alert\(1\)>\\u202eepyt/);
  assert.match(await page.locator('#compared').innerText(), /<img src=x onerror=alert\(1\)>\\u202eepyt/);
  await card.getByRole('button').click();
  await page.locator('dialog').waitFor();
  const [ours, stored] = await sides(page, 'value');
  assert.equal(ours, '"valueString": "<script>alert(1)</script>\\u202e\\u2066gnirts\\u200b \\udb40\\udc41 \\u001b[31m"');
  assert.equal(stored, '"valueString": "</pre><img src=x onerror=alert(1)> [link](javascript:alert(1)) Grüße שלום"');
  assert.deepEqual(await sides(page, '<b onclick=alert(1)>\\\\u202e'), ['–', '"\\u0085\\u2028"']);
  assert.deepEqual(await sides(page, '__proto__'), ['–', '{\n  "x": 1\n}']);
  assert.equal(await page.locator(':is(dialog, #comparison) :is(script, img, b, a, [onclick], [onerror])').count(), 0);
  assert.doesNotMatch(await page.locator('body').innerText(), /[\u202a-\u202e\u2066-\u2069\u200b]/);
}

export async function a_difference_that_has_expired_is_told(page, site) {
  page.tolerated = /status of 404/;
  await load(page, site);
  // As if it went between the list and the click: the app is asked for one that is not there.
  await page.route('**/api/comparison/*', (route) => route.continue({ url: route.request().url().replace(/[0-9a-f]{16}$/, '0'.repeat(16)) }));
  await page.locator('#comparison-list .card').first().getByRole('button').click();
  await page.locator('#notice', { hasText: 'There is no such difference: it has expired, or was cleared.' }).waitFor();
  assert.equal(await page.locator('dialog').count(), 0);
}

export async function a_keyboard_reaches_all_of_it(page, site) {
  await load(page, site);
  await page.locator('#compared').waitFor();
  const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.id);
  assert.equal(await focused(), 'comparison');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'Compared by type');
  await page.keyboard.press('Tab');
  const example = await focused();
  assert.match(example, /^Show both sides of [0-9]{14}-/);
  await page.keyboard.press('Enter');
  await page.locator('dialog').waitFor();
  await page.locator('button:focus', { hasText: 'Close' }).waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'Both sides');
  await page.keyboard.press('Escape');
  await page.locator('dialog').waitFor({ state: 'detached' });
  assert.equal(await focused(), example, 'the focus is where it was');
}
