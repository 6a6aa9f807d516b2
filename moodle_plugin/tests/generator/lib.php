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

/**
 * Makes rows of our tables for tests, as the sidecar makes them.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class local_manireports_generator extends component_generator_base {
    /**
     * A closed job of one batch, with one mail for each recipient given.
     *
     * @param array $job columns that differ from the usual
     * @param array[] $recipients columns of each that differ from the usual
     * @return stdClass id, batch, recipients (ids)
     */
    public function create_job(array $job = [], array $recipients = [[]]): stdClass {
        global $DB;
        static $number = 0;
        $job += [
            'type' => 'csv_import',
            'status' => 'queued',
            'email_count' => count($recipients),
            'company_id' => 0,
            'created_at' => time() - 60,
            'closed_at' => time() - 50,
            'source' => 'iomad_mail',
            'provider' => 'smtp',
            'label' => 'Account mails',
            'timemodified' => time(),
        ];
        $jobid = $DB->insert_record('manireports_cloud_jobs', (object)$job);
        $batch = $DB->insert_record('manireports_cloud_import_batches', (object)[
            'job_id' => $jobid,
            'batch_num' => 1,
            'status' => 'pending',
            'created_at' => $job['created_at'],
            'provider' => $job['provider'],
            'email_count' => count($recipients),
        ]);
        $ids = [];
        foreach ($recipients as $recipient) {
            $number++;
            $ids[] = $DB->insert_record('manireports_cloud_recipients', (object)($recipient + [
                'job_id' => $jobid,
                'batch_id' => $batch,
                'email' => "u$number@x.test",
                'recipient_data' => json_encode(['firstname' => 'First', 'lastname' => "Last$number"]),
                'status' => 'pending',
                'source' => $job['source'],
                'source_id' => $number,
                'role' => 'user',
                'email_hash' => hash('sha256', "hash$number"),
                'mail_key' => hash('sha256', "key$number"),
                'timemodified' => time(),
            ]));
        }
        return (object)['id' => $jobid, 'batch' => $batch, 'recipients' => $ids];
    }
}
