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
 * The jobs page, a job's page and the search: keeps them fresh, and lets their buttons ask and answer in place.
 *
 * @module     local_manireports/cloud_jobs
 * @copyright  2026 ManiReports
 * @license    https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

import {ask, waitFor} from 'local_manireports/cloud_ask';
import {keep} from 'local_manireports/cloud_live';

/**
 * What a form asks for, if it is one of ours.
 *
 * @param {HTMLFormElement} form
 * @param {HTMLElement} button what was pressed
 * @returns {Object|null} methodname and args
 */
const request = (form, button) => {
    const {job, resend, sending} = form.dataset;
    if (job) {
        return {methodname: 'local_manireports_cloud_job_act', args: {id: Number(job), action: button.value}};
    }
    if (resend) {
        return {methodname: 'local_manireports_cloud_mail_resend', args: {id: Number(resend)}};
    }
    if (sending) {
        return {methodname: 'local_manireports_cloud_sending_pause', args: {pause: sending === 'pause'}};
    }
    return null;
};

/**
 * Begin.
 *
 * @param {String} service that has the living part of the page; empty: none lives
 * @param {Object} args of the service
 */
export const init = (service, args) => {
    const root = document.querySelector('[data-region="mrcloud"]');
    const region = root.querySelector('[data-region="answer"]');
    const live = root.querySelector('[data-region="live"]');
    const refresh = live && service ? keep(live, service, args) : () => undefined;
    let asking = false;

    const during = async(asked) => {
        asking = true;
        root.classList.add('mrcloud-asking');
        await asked();
        root.classList.remove('mrcloud-asking');
        asking = false;
        refresh();
    };

    root.addEventListener('change', event => {
        if (event.target.dataset.autosubmit) {
            event.target.form.requestSubmit();
        }
    });
    // Empty fields of a filter only make its address longer.
    root.addEventListener('formdata', event => {
        for (const [name, value] of [...event.formData.entries()]) {
            if (event.target.method === 'get' && value === '') {
                event.formData.delete(name);
            }
        }
    });
    root.addEventListener('submit', event => {
        const button = event.submitter;
        const wanted = button ? request(event.target, button) : null;
        if (!wanted) {
            return;
        }
        event.preventDefault();
        if (asking) {
            return;
        }
        during(() => ask(region, button, {
            ...wanted,
            title: button.dataset.label ?? button.textContent.trim(),
            question: button.dataset.question ?? event.target.dataset.question,
            grave: Boolean(button.dataset.grave),
        }));
    });
    if (region.dataset.wait) {
        during(() => waitFor(region, Number(region.dataset.wait)));
    }
};
