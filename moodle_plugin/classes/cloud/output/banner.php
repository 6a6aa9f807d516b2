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

use local_manireports\api\cloud_job_manager;
use local_manireports\cloud\access;
use local_manireports\cloud\page;
use local_manireports\cloud\sidecar;
use local_manireports\cloud\vocabulary;

/**
 * Whether the sidecar is there, and what it means if it is not, or if something holds it.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class banner implements \renderable, \templatable {
    /**
     * The banner.
     *
     * @param sidecar $sidecar
     */
    public function __construct(
        /** @var sidecar what it says of itself */
        private readonly sidecar $sidecar
    ) {
    }

    /**
     * For local_manireports/cloud_banner.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        return $this->sidecar->alive() ? $this->of_living() : $this->of_dead();
    }

    /**
     * It is not there.
     */
    private function of_dead(): array {
        $since = $this->sidecar->last_seen();
        $running = cloud_job_manager::count_running();
        $details = [];
        if ($running) {
            $details[] = get_string('cloudbannerwaiting', 'local_manireports', vocabulary::number($running));
        }
        return [
            'dead' => true,
            'classes' => 'alert-danger',
            'title' => $since
                ? get_string('cloudbannerdead', 'local_manireports', page::time($since))
                : get_string('cloudbannernever', 'local_manireports'),
            'text' => get_string('cloudbannercron', 'local_manireports'),
            'details' => $details,
            'hasdetails' => (bool)$details,
        ];
    }

    /**
     * It is there; perhaps something holds it.
     */
    private function of_living(): array {
        $state = $this->sidecar->state();
        $everywhere = access::companies(access::MANAGE) === null;
        $version = s($this->sidecar->version());
        if (!empty($state->paused)) {
            return [
                'paused' => true,
                'classes' => 'alert-warning',
                'title' => get_string('cloudbannerpaused', 'local_manireports'),
                'text' => get_string('cloudbannerpausedtext', 'local_manireports'),
                'canresume' => $everywhere,
                'sesskey' => sesskey(),
            ];
        }
        $blocked = self::lines($state->blocked ?? []);
        $doubts = self::lines($state->lock_doubts ?? []);
        $troubles = $this->troubles($state->troubles ?? new \stdClass());
        if ($blocked || $doubts || $troubles) {
            return [
                'blocked' => true,
                'classes' => 'alert-warning',
                'title' => get_string($blocked ? 'cloudbannerblocked' : 'cloudbannertrouble', 'local_manireports'),
                'text' => $blocked ? get_string('cloudbannerblockedtext', 'local_manireports') : '',
                'details' => [...$blocked, ...$doubts, ...$troubles],
                'hasdetails' => true,
            ];
        }
        return [
            'alive' => true,
            'title' => get_string('cloudbanneralive', 'local_manireports'),
            'text' => get_string('cloudbannerversion', 'local_manireports', $version),
            'canpause' => $everywhere,
            'sesskey' => sesskey(),
        ];
    }

    /**
     * What stands in the way of a company's mail.
     *
     * @param mixed $troubles reasons by company id
     * @return string[]
     */
    private function troubles($troubles): array {
        $lines = [];
        $names = access::company_names(access::VIEW);
        foreach ((array)$troubles as $company => $reason) {
            if (is_string($reason) && access::can(access::VIEW, (int)$company)) {
                $name = $names[(int)$company] ?? "#$company";
                $lines[] = html_entity_decode($name, ENT_QUOTES) . ': ' . $reason;
            }
        }
        return $lines;
    }

    /**
     * Texts of a list; whatever else it holds is left out.
     *
     * @param mixed $list
     * @return string[]
     */
    private static function lines($list): array {
        return array_values(array_filter((array)$list, 'is_string'));
    }
}
