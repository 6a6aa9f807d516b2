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

namespace local_manireports\cloud;

/**
 * States and counters of batches and jobs as they follow from their recipients.
 *
 * The same rules as sidecar/lifecycle.py and sidecar/store/results.py; for what PHP does while no sidecar leads.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class states {
    /** @var string[] states in which a job does nothing more by itself */
    public const JOB_ENDED = ['completed', 'partial_failure', 'failed', 'cancelled', 'returned'];

    /** @var string[] recipient states in which a mail has not ended */
    public const WAITING = ['pending', 'retry_pending', 'processing'];

    /** @var string[] recipient states that count as failed */
    private const FAILURES = ['failed', 'permanently_failed', 'unknown'];

    /** @var string[] recipient states that a mail reaches only by having been submitted or refused */
    private const SUBMITTED = ['processing', 'sent', 'failed', 'retry_pending', 'permanently_failed', 'unknown'];

    /**
     * Recomputes batches of a job, and the job. Call it inside a transaction.
     *
     * @param int $jobid
     */
    public static function refresh(int $jobid): void {
        global $DB;
        $now = time();
        $counts = [];
        // What the sidecar writes meanwhile waits for us, and counts what we have counted.
        $DB->get_records_sql('SELECT id FROM {manireports_cloud_jobs} WHERE id = :job FOR UPDATE', ['job' => $jobid]);
        $sql = 'SELECT batch_id, status, COUNT(*) AS number
                  FROM {manireports_cloud_recipients}
                 WHERE job_id = :job
              GROUP BY batch_id, status';
        $rows = $DB->get_recordset_sql($sql, ['job' => $jobid]);
        foreach ($rows as $row) {
            $counts[$row->batch_id][$row->status] = (int)$row->number;
        }
        $rows->close();
        $issued = false;
        foreach ($DB->get_records('manireports_cloud_import_batches', ['job_id' => $jobid], 'id') as $batch) {
            $issued = $issued || $batch->first_issued_at !== null;
            self::refresh_batch($batch, $counts[$batch->id] ?? [], $now);
        }
        self::refresh_job($jobid, $counts, $issued, $now);
    }

    /**
     * How many mails there are by state.
     *
     * @param array $counts batch id => state => number
     * @return int[]
     */
    private static function total(array $counts): array {
        $total = [];
        foreach ($counts as $states) {
            foreach ($states as $state => $number) {
                $total[$state] = ($total[$state] ?? 0) + $number;
            }
        }
        return $total;
    }

    /**
     * Writes one batch.
     *
     * @param \stdClass $batch
     * @param int[] $counts state => number
     * @param int $now
     */
    private static function refresh_batch(\stdClass $batch, array $counts, int $now): void {
        global $DB;
        $values = ['id' => $batch->id, 'sent_count' => $counts['sent'] ?? 0, 'failed_count' => self::failed($counts)];
        $state = self::batch_state(array_keys($counts));
        if ($state !== null) {
            $values += ['status' => $state, 'completed_at' => $batch->completed_at ?? $now, 'error_message' => null];
        }
        $DB->update_record('manireports_cloud_import_batches', (object)$values);
    }

    /**
     * Writes the job.
     *
     * @param int $jobid
     * @param array $counts batch id => state => number
     * @param bool $issued whether a batch of it ever left
     * @param int $now
     */
    private static function refresh_job(int $jobid, array $counts, bool $issued, int $now): void {
        global $DB;
        $job = $DB->get_record('manireports_cloud_jobs', ['id' => $jobid], '*', MUST_EXIST);
        $total = self::total($counts);
        [$notended, $params] = $DB->get_in_or_equal(self::JOB_ENDED, SQL_PARAMS_NAMED, 'state', false);
        $openchild = $DB->record_exists_select(
            'manireports_cloud_jobs',
            "parent_job_id = :job AND status $notended",
            $params + ['job' => $jobid]
        );
        $alive = array_keys($total);
        $submitted = $issued || array_intersect($alive, self::SUBMITTED);
        $state = self::job_state($job->closed_at !== null, $openchild, (bool)$submitted, $alive);
        $DB->update_record('manireports_cloud_jobs', (object)[
            'id' => $jobid,
            'status' => $state,
            'emails_sent' => $total['sent'] ?? 0,
            'emails_failed' => self::failed($total),
            'completed_at' => in_array($state, self::JOB_ENDED, true) ? ($job->completed_at ?? $now) : null,
            'started_at' => $job->started_at ?? ($submitted ? $now : null),
            'timemodified' => $now,
        ]);
    }

    /**
     * How many did not arrive for a reason that the admin may have to act on.
     *
     * @param int[] $counts state => number
     */
    private static function failed(array $counts): int {
        return array_sum(array_intersect_key($counts, array_flip(self::FAILURES)));
    }

    /**
     * The final state of a batch; null while it runs.
     *
     * @param string[] $alive states in which it has recipients
     */
    public static function batch_state(array $alive): ?string {
        if (!$alive || array_intersect($alive, self::WAITING)) {
            return null;
        }
        $sent = in_array('sent', $alive, true);
        if (array_intersect($alive, ['failed', 'unknown'])) {
            return $sent ? 'partial_failure' : 'failed';
        }
        if ($sent || in_array('permanently_failed', $alive, true)) {
            return $sent ? 'sent' : 'failed';
        }
        return in_array('returned', $alive, true) ? 'returned' : 'cancelled';
    }

    /**
     * A job's state, first match.
     *
     * @param bool $closed no more mail joins
     * @param bool $openchild a job that repeats mails of it has not ended
     * @param bool $submitted any batch ever left
     * @param string[] $alive states in which it has recipients
     */
    public static function job_state(bool $closed, bool $openchild, bool $submitted, array $alive): string {
        $waits = array_intersect($alive, self::WAITING);
        if ($openchild) {
            return 'manual_retry';
        }
        if (!$submitted && (!$alive || $waits || !$closed)) {
            return 'pending';
        }
        if (array_intersect($alive, ['pending', 'processing']) || !$closed) {
            return array_diff($alive, ['pending', 'processing']) ? 'processing' : 'queued';
        }
        if ($waits) {
            return 'retry_pending';
        }
        if (array_intersect($alive, ['failed', 'unknown'])) {
            return in_array('sent', $alive, true) ? 'partial_failure' : 'failed';
        }
        if (array_intersect($alive, ['sent', 'permanently_failed'])) {
            return 'completed';
        }
        return in_array('returned', $alive, true) ? 'returned' : 'cancelled';
    }
}
