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
 * Keeps a part of a page as it is on the server, without a reload.
 *
 * @module     local_manireports/cloud_live
 * @copyright  2026 ManiReports
 * @license    https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

import Ajax from 'core/ajax';

/** Seconds between two looks while something happens, and while nothing does. */
const BUSY = 3;
const IDLE = 10;

/** Seconds after which it looks again at the latest when the server does not answer. */
const LATEST = 120;

/** What the reader may have changed, and what a refresh leaves alone. */
const OWN_ATTRIBUTES = {DETAILS: ['open']};

/**
 * Whether two nodes are the same thing, so that one can become the other.
 *
 * @param {Node} old
 * @param {Node} fresh
 * @returns {Boolean}
 */
const isSame = (old, fresh) => old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName
    && (old.dataset?.key ?? '') === (fresh.dataset?.key ?? '');

/**
 * Gives an element the attributes of another.
 *
 * @param {Element} old
 * @param {Element} fresh
 */
const matchAttributes = (old, fresh) => {
    const own = OWN_ATTRIBUTES[old.nodeName] ?? [];
    for (const {name} of [...old.attributes]) {
        if (!fresh.hasAttribute(name) && !own.includes(name)) {
            old.removeAttribute(name);
        }
    }
    for (const {name, value} of [...fresh.attributes]) {
        if (old.getAttribute(name) !== value && !own.includes(name)) {
            old.setAttribute(name, value);
        }
    }
};

/**
 * Makes what is in one element equal to what is in another. What did not change is not touched, so that focus, selection and
 * animations stay; nor is anything in an element with data-keep.
 *
 * @param {Element} old
 * @param {Element} fresh
 */
export const patch = (old, fresh) => {
    const wanted = [...fresh.childNodes];
    const known = new Map([...old.children].filter(node => node.dataset.key).map(node => [node.dataset.key, node]));
    wanted.forEach((node, index) => {
        const there = old.childNodes[index];
        const moved = node.dataset?.key ? known.get(node.dataset.key) : null;
        const mine = moved ?? (there && isSame(there, node) ? there : null);
        if (!mine) {
            old.insertBefore(node, there ?? null);
            return;
        }
        if (mine !== there) {
            old.insertBefore(mine, there ?? null);
        }
        if (mine.nodeType !== Node.ELEMENT_NODE) {
            if (mine.nodeValue !== node.nodeValue) {
                mine.nodeValue = node.nodeValue;
            }
        } else if (!mine.dataset?.keep) {
            matchAttributes(mine, node);
            patch(mine, node);
        }
    });
    while (old.childNodes.length > wanted.length) {
        old.lastChild.remove();
    }
};

/**
 * Shows HTML of ours in an element, changing only what is different.
 *
 * @param {Element} element
 * @param {String} html
 */
const show = (element, html) => {
    const template = document.createElement('template');
    template.innerHTML = html;
    patch(element, template.content);
};

/**
 * Looks every few seconds, as long as the page can be seen.
 *
 * @param {Element} element what is kept
 * @param {String} methodname the web service that has its HTML
 * @param {Object} args of the service
 * @returns {Function} to be called when something surely changed
 */
export const keep = (element, methodname, args) => {
    let timer = null;
    let failures = 0;
    let looking = false;
    let again = false;

    const plan = seconds => {
        clearTimeout(timer);
        timer = document.hidden ? null : setTimeout(look, seconds * 1000);
    };

    const look = async() => {
        if (looking) {
            again = true;
            return;
        }
        looking = true;
        let wait = IDLE;
        try {
            const [{html, running}] = await Promise.all(Ajax.call([{methodname, args}], true, true, false, 30000));
            show(element, html);
            failures = 0;
            wait = running ? BUSY : IDLE;
        } catch (error) {
            // The list stays as it was; the server gets time to come back.
            failures++;
            wait = Math.min(LATEST, BUSY * 2 ** failures);
        }
        looking = false;
        plan(again ? 0 : wait);
        again = false;
    };

    document.addEventListener('visibilitychange', () => plan(failures ? BUSY : 0));
    plan(BUSY);
    return look;
};
