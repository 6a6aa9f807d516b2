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

namespace local_manireports\cloud\upgrade;

/**
 * Turns jobs of an earlier ManiReports into ours; whoever comes later knows them by their source.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class earlier_jobs {
    /** @var string table name */
    private const TABLE = 'manireports_cloud_jobs';

    /** @var string[] states in which nothing more happens */
    private const ENDED = ['completed', 'partial_failure', 'failed', 'cancelled', 'returned'];

    /**
     * Changes every job that was not changed yet. Its recipients were before.
     */
    public static function convert(): void {
        global $DB;
        $jobs = $DB->get_recordset_select(self::TABLE, "source = ''", null, 'id');
        foreach ($jobs as $job) {
            $DB->update_record(self::TABLE, self::changed($job), true);
        }
        $jobs->close();
    }

    /**
     * Whether the earlier version was through with a job.
     *
     * @param \stdClass $job
     */
    public static function has_ended(\stdClass $job): bool {
        return in_array($job->status, self::ENDED, true);
    }

    /**
     * A job as it is from now on.
     *
     * @param \stdClass $job as it was
     */
    private static function changed(\stdClass $job): \stdClass {
        $ended = self::has_ended($job);
        $at = (int)$job->completed_at ?: max((int)$job->started_at, (int)$job->created_at);
        $log = trim((string)$job->error_log);
        if (!$ended) {
            $log = trim("$log\nNot finished when the earlier version was replaced.");
        }
        return (object)[
            'id' => $job->id,
            'status' => $ended ? $job->status : 'cancelled',
            'completed_at' => $at,
            'closed_at' => $at,
            'error_log' => $log === '' ? null : $log,
            'source' => earlier_recipients::SOURCE,
            'provider' => 'aws',
            'label' => \core_text::substr("$job->type (earlier version)", 0, 255),
            'notified_at' => $at,
            'timemodified' => $at,
        ];
    }
}
