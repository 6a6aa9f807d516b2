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
 * The page on which a reminder is written: who gets it, how it reads, and sending it, once.
 *
 * @module     local_manireports/cloud_campaign
 * @copyright  2026 ManiReports
 * @license    https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

import Ajax from 'core/ajax';
import {getString} from 'core/str';
import Notification from 'core/notification';

/** Milliseconds after the last change until recipients are counted anew. */
const QUIET = 600;

const call = (methodname, args) => Ajax.call([{methodname, args}], true, true, false, 60000)[0];

/**
 * The live editor of the body, if there is one.
 *
 * @param {HTMLFormElement} form
 * @returns {Object|null}
 */
const tiny = form => window.tinymce?.get(form.elements['body[text]']?.id) ?? null;

/**
 * The text of the body as it is now, whichever editor is there.
 *
 * @param {HTMLFormElement} form
 * @returns {String}
 */
const bodyOf = form => {
    const area = form.elements['body[text]'];
    const atto = document.getElementById(`${area.id}editable`);
    return tiny(form)?.getContent() ?? atto?.innerHTML ?? area.value;
};

/**
 * Puts a text where the cursor was last, in the subject or in the body.
 *
 * @param {HTMLFormElement} form
 * @param {Boolean} intoSubject
 * @param {String} text
 */
const insert = (form, intoSubject, text) => {
    const editor = tiny(form);
    if (!intoSubject && editor) {
        editor.insertContent(text);
        editor.focus();
        return;
    }
    const atto = document.getElementById(`${form.elements['body[text]'].id}editable`);
    if (!intoSubject && atto) {
        atto.focus();
        document.execCommand('insertText', false, text);
        return;
    }
    const field = form.elements[intoSubject ? 'subject' : 'body[text]'];
    field.setRangeText(text, field.selectionStart, field.selectionEnd, 'end');
    field.focus();
};

/**
 * Begin.
 */
export const init = () => {
    const root = document.querySelector('[data-region="mrcloud"]');
    const form = root.querySelector('form.mform[data-region="campaign"]');
    const region = name => root.querySelector(`[data-region="${name}"]`);
    const said = region('previewsaid');
    let student = {userid: 0, courseid: 0};
    let timer = null;
    let asked = 0;
    let intoSubject = false;
    let leaving = false;

    const whom = () => ({
        id: Number(root.dataset.campaign),
        company: Number(root.dataset.company),
        courses: [...(form.elements['courses[]']?.selectedOptions ?? [])].map(option => Number(option.value)).filter(Boolean),
        days: Number(form.elements.days?.value ?? 1) || 0,
    });

    const what = () => ({
        own: form.elements.own.value === '1',
        subject: form.elements.subject.value,
        body: bodyOf(form),
        format: Number(form.elements['body[format]']?.value ?? 1),
        ...student,
    });

    const say = (kind, text) => {
        const box = document.createElement('div');
        box.className = `alert alert-${kind} mrcloud-answer mb-0`;
        box.textContent = text;
        said.replaceChildren(...(text ? [box] : []));
    };

    const preview = async() => {
        try {
            const mail = await call('local_manireports_cloud_campaign_preview', {...whom(), ...what()});
            region('to').textContent = mail.to;
            region('subject').textContent = mail.subject;
            // Nothing in it runs: the frame's sandbox is empty.
            region('mail').srcdoc = `<!DOCTYPE html><meta charset="utf-8"><style>body{font-family:sans-serif}</style>${mail.body}`;
            region('preview').hidden = false;
            say('', '');
        } catch (error) {
            region('preview').hidden = true;
            say('danger', error.message);
        }
    };

    const mark = () => root.querySelectorAll('[data-userid]').forEach(button => {
        const mine = Number(button.dataset.userid) === student.userid && Number(button.dataset.courseid) === student.courseid;
        button.setAttribute('aria-pressed', mine ? 'true' : 'false');
    });

    const enable = (names, enabled) => names.forEach(name => {
        root.querySelector(`[data-action="${name}"]`).disabled = !enabled;
    });

    const audience = async() => {
        const mine = ++asked;
        try {
            const found = await call('local_manireports_cloud_campaign_audience', whom());
            if (mine !== asked) {
                return null;
            }
            region('audience').innerHTML = found.html;
            const first = region('audience').querySelector('[data-userid]');
            student = first ? {userid: Number(first.dataset.userid), courseid: Number(first.dataset.courseid)}
                : {userid: 0, courseid: 0};
            mark();
            enable(['preview', 'test'], Boolean(first));
            return found;
        } catch (error) {
            if (mine === asked) {
                region('audience').textContent = error.message;
            }
            return null;
        }
    };

    const changed = () => {
        clearTimeout(timer);
        timer = setTimeout(audience, QUIET);
    };

    const test = async() => {
        try {
            const {sent, text} = await call('local_manireports_cloud_campaign_test', {...whom(), ...what()});
            say(sent ? 'success' : 'warning', text);
        } catch (error) {
            say('danger', error.message);
        }
    };

    const leave = go => {
        for (const [name, value] of Object.entries({go, confirmed: 1})) {
            const field = document.createElement('input');
            Object.assign(field, {type: 'hidden', name, value});
            form.append(field);
        }
        leaving = true;
        form.requestSubmit();
        // If the form itself finds something wrong, the person goes on.
        setTimeout(() => {
            leaving = false;
        }, 5000);
    };

    const send = async(button) => {
        clearTimeout(timer);
        const found = await audience();
        if (!found?.count) {
            region('audience').scrollIntoView({block: 'center'});
            return;
        }
        const title = button.textContent.trim();
        try {
            await Notification.saveCancelPromise(
                title,
                await getString('cloudcampaignquestion_queue', 'local_manireports', found.said),
                title,
                {triggerElement: button}
            );
        } catch (error) {
            return;
        }
        if (!leaving) {
            leave('send');
        }
    };

    const actions = {preview, test, send, keep: () => leaving || leave('keep')};
    root.addEventListener('click', async event => {
        const button = event.target.closest('button');
        if (button?.dataset.userid) {
            student = {userid: Number(button.dataset.userid), courseid: Number(button.dataset.courseid)};
            mark();
            await preview();
        } else if (button?.dataset.insert) {
            insert(form, intoSubject, button.dataset.insert);
        } else if (button && actions[button.dataset.action]) {
            button.disabled = true;
            await actions[button.dataset.action](button);
            button.disabled = false;
        }
    });
    form.addEventListener('focusin', event => {
        intoSubject = event.target.name === 'subject';
    });
    form.addEventListener('change', event => {
        if (/^(courses|days)/.test(event.target.name)) {
            changed();
        }
    });
    form.elements.days?.addEventListener('input', changed);
    audience();
    // Until now nobody would have heard them.
    enable(['send', 'keep'], true);
};
