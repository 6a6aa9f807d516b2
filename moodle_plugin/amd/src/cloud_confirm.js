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
 * Asks before a form with data-question is sent, lets it and those with data-once be sent once only, and copies texts.
 *
 * @module     local_manireports/cloud_confirm
 * @copyright  2026 ManiReports
 * @license    https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

import {getString} from 'core/str';
import Notification from 'core/notification';

/**
 * Copies a text, and says so on the button.
 *
 * @param {HTMLElement} button with data-copy
 */
const copy = async(button) => {
    try {
        await navigator.clipboard.writeText(button.dataset.copy);
    } catch (error) {
        // Without https there is no clipboard: the old way.
        const area = document.createElement('textarea');
        area.value = button.dataset.copy;
        area.className = 'sr-only visually-hidden';
        document.body.append(area);
        area.select();
        document.execCommand('copy');
        area.remove();
    }
    const before = button.textContent;
    button.textContent = await getString('cloudcopied', 'local_manireports');
    setTimeout(() => {
        button.textContent = before;
    }, 2000);
};

/**
 * Begin.
 *
 * @param {HTMLElement} root what is watched
 */
export const watch = root => {
    root.addEventListener('click', event => {
        const button = event.target.closest('[data-copy]');
        if (button) {
            copy(button);
        }
    });
    root.addEventListener('submit', async event => {
        const form = event.target;
        if (form.dataset.sent) {
            event.preventDefault();
            return;
        }
        if (form.dataset.once) {
            form.dataset.sent = 1;
        }
        if (!form.dataset.question) {
            return;
        }
        event.preventDefault();
        const button = event.submitter;
        const title = button.dataset.label ?? button.textContent.trim();
        const confirm = form.dataset.grave ? Notification.deleteCancelPromise : Notification.saveCancelPromise;
        try {
            await confirm(title, form.dataset.question, title, {triggerElement: button});
        } catch (error) {
            return;
        }
        if (!form.dataset.sent) {
            form.dataset.sent = 1;
            form.submit();
        }
    });
};

/**
 * Watch our page.
 */
export const init = () => watch(document.querySelector('[data-region="mrcloud"]'));
