<?php
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

namespace local_manireports\cloud\output;

use local_manireports\cloud\access;
use local_manireports\cloud\company_settings;
use local_manireports\cloud\page;
use local_manireports\cloud\sidecar;
use local_manireports\cloud\vocabulary;

/**
 * A company's settings, with what can be tried and what the worker needs.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class settings_page implements \renderable, \templatable {
    /**
     * The page.
     *
     * @param int $company
     * @param string[] $names formatted names of the companies that the user may configure, by id
     * @param string $form its HTML
     * @param string[] $newkey name and secret of a key that was made just now; empty: none
     */
    public function __construct(
        /** @var int the company */
        private readonly int $company,
        /** @var string[] formatted names by id */
        private readonly array $names,
        /** @var string HTML */
        private readonly string $form,
        /** @var string[] name and secret */
        private readonly array $newkey
    ) {
    }

    /**
     * For local_manireports/cloud_settings.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        global $USER;
        $will = company_settings::effective($this->company);
        $enabled = (bool)$will->enabled;
        return [
            'tabs' => (new tabs('settings'))->export_for_template($output),
            'company' => $this->company,
            'companies' => count($this->names) > 1 ? $this->choice($output) : '',
            'title' => $this->title(),
            'iszero' => !$this->company && count($this->names) > 1,
            'enabled' => $enabled,
            'paused' => (bool)$will->paused,
            'provider' => vocabulary::provider($will->provider),
            'alive' => (new sidecar())->alive(),
            'page' => (new \moodle_url('/local/manireports/ui/cloud_settings.php', ['company' => $this->company]))->out(false),
            'sesskey' => sesskey(),
            'form' => $this->form,
            'email' => $USER->email,
            'callback' => $this->callback($will),
        ];
    }

    /**
     * The name of what is set here.
     */
    private function title(): string {
        if ($this->company) {
            return $this->names[$this->company];
        }
        return get_string(access::is_iomad() ? 'cloudcompanyzero' : 'cloudwholesite', 'local_manireports');
    }

    /**
     * The choice of another company.
     *
     * @param \renderer_base $output
     */
    private function choice(\renderer_base $output): string {
        $names = $this->names;
        if (isset($names[0])) {
            $names[0] = get_string('cloudcompanyzero', 'local_manireports');
        }
        $select = new \single_select(
            new \moodle_url('/local/manireports/ui/cloud_settings.php'),
            'company',
            $names,
            $this->company,
            null
        );
        $select->set_label(get_string('cloudfiltercompany', 'local_manireports'), ['class' => 'sr-only visually-hidden']);
        return $output->render($select);
    }

    /**
     * What the worker needs to report results.
     *
     * @param \stdClass $will what holds for the company
     */
    private function callback(\stdClass $will): array {
        $own = company_settings::own($this->company);
        $isown = !company_settings::is_unset($own->callback_key);
        $has = !company_settings::is_unset($will->callback_key);
        $old = $has && (int)$will->callback_old_until > time() ? $will->callback_key_old : '';
        return [
            'url' => (new \moodle_url('/local/manireports/ui/ajax/cloud_callback.php'))->out(false),
            'key' => $has ? $will->callback_key : '',
            'inherited' => $has && !$isown,
            'isown' => $isown,
            'old' => $old ? get_string('cloudkeyold', 'local_manireports', (object)[
                'key' => $old, 'until' => page::time($will->callback_old_until),
            ]) : '',
            'question' => get_string(
                !$isown ? 'cloudkeyquestionfirst' : ($old ? 'cloudkeyquestionold' : 'cloudkeyquestion'),
                'local_manireports'
            ),
            'newkey' => $this->newkey ? implode(':', $this->newkey) : '',
        ];
    }
}
