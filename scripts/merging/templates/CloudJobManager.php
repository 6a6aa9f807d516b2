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

namespace local_manireports\api;

use local_manireports\cloud\access;

/**
 * What earlier code knew as the manager of cloud jobs. It reads the sidecar's jobs; it makes and changes none.
 *
 * The sidecar claims mail from Moodle's own queues, so whoever wants to send just sends by Moodle. Code that queued here
 * gets an exception before anything is stored, and its own way to send by Moodle takes over.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class CloudJobManager {
    /**
     * Jobs are opened by the sidecar alone.
     *
     * @param string $type
     * @param array $recipients
     * @param int $companyid
     * @param string|null $subject
     * @param string|null $html
     * @return int never
     * @throws \moodle_exception always
     */
    public function create_job(
        string $type,
        array $recipients,
        int $companyid,
        ?string $subject = null,
        ?string $html = null
    ): int {
        throw new \moodle_exception('cloudearlierqueue', 'local_manireports');
    }

    /**
     * Jobs are dispatched by the sidecar alone.
     *
     * @param int $jobid
     * @return bool never
     * @throws \moodle_exception always
     */
    public function submit_job(int $jobid): bool {
        throw new \moodle_exception('cloudearlierqueue', 'local_manireports');
    }

    /**
     * States of jobs are derived by the sidecar alone.
     *
     * @param int $jobid
     * @param string $status
     * @throws \moodle_exception always
     */
    public function update_job_status(int $jobid, string $status): void {
        throw new \moodle_exception('cloudearlierqueue', 'local_manireports');
    }

    /**
     * Workers report to ui/ajax/cloud_callback.php, signed.
     *
     * @param int $jobid
     * @param array $data
     * @throws \moodle_exception always
     */
    public function handle_callback(int $jobid, array $data): void {
        throw new \moodle_exception('cloudearlierqueue', 'local_manireports');
    }

    /**
     * A job that the current user may see.
     *
     * @param int $jobid
     * @return \stdClass|null a row of manireports_cloud_jobs
     */
    public function get_job(int $jobid): ?\stdClass {
        global $DB;
        $job = $DB->get_record('manireports_cloud_jobs', ['id' => $jobid]) ?: null;
        return $job && access::can(access::VIEW, (int)$job->company_id) ? $job : null;
    }
}
