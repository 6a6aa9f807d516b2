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
 * The list of suppressed addresses: choosing some of them, and asking before they are removed.
 *
 * @module     local_manireports/cloud_suppressions
 * @copyright  2026 ManiReports
 * @license    https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */

import {watch} from 'local_manireports/cloud_confirm';

/**
 * Begin.
 */
export const init = () => {
    const root = document.querySelector('[data-region="mrcloud"]');
    const all = root.querySelector('[data-action="all"]');
    const remove = root.querySelector('[data-action="remove"]');
    const boxes = () => [...root.querySelectorAll('[name="ids[]"]')];

    const show = () => {
        const chosen = boxes().filter(box => box.checked).length;
        if (remove) {
            remove.disabled = !chosen;
        }
        if (all) {
            all.checked = chosen > 0 && chosen === boxes().length;
            all.indeterminate = chosen > 0 && !all.checked;
        }
    };

    watch(root);
    root.addEventListener('change', event => {
        if (event.target.dataset.autosubmit) {
            event.target.form.requestSubmit();
        }
        if (event.target === all) {
            boxes().forEach(box => {
                box.checked = all.checked;
            });
        }
        show();
    });
    show();
};
