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

/**
 * Asks something of the sidecar, and shows what it answers.
 *
 * @module     local_manireports/cloud_ask
 * @copyright  2026 ManiReports
 * @license    https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

import Ajax from 'core/ajax';
import {getString} from 'core/str';
import Notification from 'core/notification';

/** Seconds between two looks for the answer, at first and later, and after how many looks it is no longer awaited. */
const SOON = 1;
const LATER = 3;
const SOON_LOOKS = 10;
const LOOKS = 60;

const sleep = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000));

/**
 * Says something in a region that is read aloud.
 *
 * @param {Element} region
 * @param {String} kind info, success, warning or danger
 * @param {String} text
 * @param {String} url where it leads; empty: nowhere
 * @param {Boolean} waiting whether more is to come
 */
const say = (region, kind, text, url = '', waiting = false) => {
    const box = document.createElement('div');
    box.className = `alert alert-${kind} mrcloud-answer`;
    if (waiting) {
        const spinner = document.createElement('span');
        spinner.className = 'spinner-border spinner-border-sm';
        spinner.setAttribute('aria-hidden', 'true');
        box.append(spinner);
    }
    const words = document.createElement(url ? 'a' : 'span');
    words.textContent = text;
    if (url) {
        words.href = url;
    }
    box.append(words);
    region.replaceChildren(box);
};

/**
 * Waits until a request is answered, and says the answer.
 *
 * @param {Element} region
 * @param {Number} id of the request
 * @returns {Promise<Boolean>} whether it was done
 */
export const waitFor = async(region, id) => {
    say(region, 'info', await getString('cloudasked', 'local_manireports'), '', true);
    for (let looks = 0; looks < LOOKS; looks++) {
        await sleep(looks < SOON_LOOKS ? SOON : LATER);
        let answer;
        try {
            [answer] = await Promise.all(Ajax.call([{
                methodname: 'local_manireports_cloud_request_answer',
                args: {id},
            }], true, true, false, 15000));
        } catch (error) {
            continue;
        }
        if (answer.status !== 'new') {
            say(region, answer.status === 'done' ? 'success' : 'danger', answer.text, answer.url);
            return answer.status === 'done';
        }
    }
    say(region, 'warning', await getString('cloudnoanswer', 'local_manireports'));
    return false;
};

/**
 * Asks the person, then the sidecar.
 *
 * @param {Element} region where the answer is shown
 * @param {HTMLElement} button what was pressed
 * @param {Object} asking methodname, args, title, question, grave
 * @returns {Promise<Boolean>} whether it was done
 */
export const ask = async(region, button, {methodname, args, title, question, grave}) => {
    try {
        const confirm = grave ? Notification.deleteCancelPromise : Notification.saveCancelPromise;
        await confirm(title, question, title, {triggerElement: button});
    } catch (error) {
        return false;
    }
    region.scrollIntoView({block: 'nearest'});
    try {
        const [answer] = await Promise.all(Ajax.call([{methodname, args}]));
        if (answer.request) {
            return await waitFor(region, answer.request);
        }
        say(region, answer.status === 'failed' ? 'danger' : 'success', answer.text, answer.url);
        return answer.status !== 'failed';
    } catch (error) {
        say(region, 'danger', error.message);
        return false;
    }
};
