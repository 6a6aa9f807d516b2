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

use local_manireports\cloud\job_figures;

/**
 * Mails per day, and how long they took.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class charts implements \renderable, \templatable {
    /** @var int days that are shown at most */
    private const DAYS = 30;

    /** @var int days that are shown at least, even if nothing was sent on the first of them */
    private const LEAST = 14;

    /**
     * The charts.
     *
     * @param int|null $company null: all that the user may see
     */
    public function __construct(
        /** @var int|null null: all that the user may see */
        private readonly ?int $company
    ) {
    }

    /**
     * For local_manireports/cloud_charts.
     *
     * @param \renderer_base $output
     */
    public function export_for_template(\renderer_base $output): array {
        $days = job_figures::days(self::DAYS, $this->company);
        if (!array_sum(array_map(fn($day) => $day->sent + $day->failed, $days))) {
            return ['hascharts' => false];
        }
        while (count($days) > self::LEAST && !(reset($days)->sent + reset($days)->failed)) {
            unset($days[array_key_first($days)]);
        }
        $labels = array_map(fn($begin) => userdate($begin, get_string('cloudday', 'local_manireports')), array_keys($days));
        return [
            'hascharts' => true,
            'mails' => $output->render(self::mails($days, $labels)),
            'times' => $output->render(self::times($days, $labels)),
        ];
    }

    /**
     * Mails per day.
     *
     * @param \stdClass[] $days
     * @param string[] $labels
     */
    private static function mails(array $days, array $labels): \core\chart_base {
        $chart = new \core\chart_bar();
        $chart->set_stacked(true);
        $chart->set_labels($labels);
        $sent = new \core\chart_series(get_string('cloudstate_sent', 'local_manireports'), array_column($days, 'sent'));
        $sent->set_color('#2f8f4e');
        $failed = new \core\chart_series(get_string('cloudnotarrived', 'local_manireports'), array_column($days, 'failed'));
        $failed->set_color('#ca3120');
        $chart->add_series($sent);
        $chart->add_series($failed);
        $chart->get_yaxis(0, true)->set_min(0);
        return $chart;
    }

    /**
     * Minutes from the claim of a mail to its sending, per day.
     *
     * @param \stdClass[] $days
     * @param string[] $labels
     */
    private static function times(array $days, array $labels): \core\chart_base {
        $minutes = fn($seconds) => $seconds === null ? null : round($seconds / 60, 1);
        $chart = new \core\chart_line();
        $chart->set_labels($labels);
        $half = array_map($minutes, array_column($days, 'half'));
        $most = array_map($minutes, array_column($days, 'most'));
        $first = new \core\chart_series(get_string('cloudhalfwithin', 'local_manireports'), $half);
        $first->set_color('#0f6cbf');
        $second = new \core\chart_series(get_string('cloudmostwithin', 'local_manireports'), $most);
        $second->set_color('#b07c10');
        $chart->add_series($first);
        $chart->add_series($second);
        $axis = $chart->get_yaxis(0, true);
        $axis->set_min(0);
        $axis->set_label(get_string('minutes'));
        return $chart;
    }
}
