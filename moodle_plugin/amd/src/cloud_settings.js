// This file is part of Moodle - https://moodle.org/
//
// Moodle is free software: you can redistribute it and/or modify
// it under the terms of the GNU General Public License as published by
// the Free Software Foundation, either version 3 of the License, or
// (at your option) any later version.
//
// Moodle is distributed in the hope that it will be useful,
// but WITHOUT ANY WARRANTY; without even the implied warranty of
// MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
// GNU General Public License for more details.
//
// You should have received a copy of the GNU General Public License
// along with Moodle.  If not, see <https://www.gnu.org/licenses/>.

/**
 * The settings page: what can be tried, with the sidecar's answers.
 *
 * @module     local_manireports/cloud_settings
 * @copyright  2026 ManiReports
 * @license    https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

import Ajax from 'core/ajax';
import {getString} from 'core/str';
import {watch} from 'local_manireports/cloud_confirm';

/** Seconds between two looks for the answer, at first and later, and after how many looks it is no longer awaited. */
const SOON = 1;
const LATER = 3;
const SOON_LOOKS = 10;
const LOOKS = 40;

const sleep = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000));

const call = (methodname, args) => Ajax.call([{methodname, args}], true, true, false, 15000)[0];

/**
 * Says something in a region.
 *
 * @param {HTMLElement} region
 * @param {String} kind warning or danger
 * @param {String} text
 */
const say = (region, kind, text) => {
    const box = document.createElement('div');
    box.className = `alert alert-${kind} mrcloud-answer mb-2`;
    box.textContent = text;
    region.replaceChildren(box);
};

/**
 * Asks, and shows the answer as soon as it is there.
 *
 * @param {Number} company
 * @param {String} what
 * @param {HTMLElement} region
 */
const ask = async(company, what, region) => {
    const {request} = await call('local_manireports_cloud_settings_ask', {company, what});
    if (!request) {
        say(region, 'warning', await getString('cloudasknosidecar', 'local_manireports'));
        return;
    }
    for (let looks = 0; looks < LOOKS; looks++) {
        let answer;
        try {
            answer = await call('local_manireports_cloud_settings_answer', {request});
        } catch (error) {
            if (error.errorcode) {
                throw error;
            }
            // The network failed for a moment.
            await sleep(LATER);
            continue;
        }
        region.innerHTML = answer.html;
        if (!answer.waiting) {
            return;
        }
        await sleep(looks < SOON_LOOKS ? SOON : LATER);
    }
    say(region, 'warning', await getString('cloudnoanswer', 'local_manireports'));
};

/**
 * Begin.
 *
 * @param {Number} company whose settings they are
 */
export const init = company => {
    const root = document.querySelector('[data-region="mrcloud"]');
    const enable = enabled => root.querySelectorAll('[data-ask]').forEach(button => {
        button.disabled = !enabled;
    });
    watch(root);
    root.addEventListener('click', async event => {
        const button = event.target.closest('[data-ask]');
        if (!button || button.disabled) {
            return;
        }
        const what = button.dataset.ask;
        const region = root.querySelector(`[data-answer="${what === 'observe' ? what : 'test'}"]`);
        enable(false);
        region.replaceChildren();
        try {
            await ask(company, what, region);
        } catch (error) {
            say(region, 'danger', error.message);
        }
        enable(true);
        button.focus();
    });
    // Until now nobody would have heard them.
    enable(true);
};
