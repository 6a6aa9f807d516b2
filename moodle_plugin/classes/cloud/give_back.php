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
 * Hands claimed mail back to Moodle without a sidecar: when none has led this site for ten minutes, and at uninstall.
 *
 * The same rules as the sidecar's own `release` (sidecar/jobs.py): a row goes back only if none of its mails was ever
 * submitted or ended, and only while it still carries our mark. Everything else stays, and is counted as held.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class give_back {
    /** @var int seconds for which the lease must have been dead */
    public const DEAD_SECONDS = 600;

    /** @var int rows that go back in one transaction */
    private const PAGE = 500;

    /** @var string table name */
    private const RECIPIENTS = 'manireports_cloud_recipients';

    /** @var string table name */
    private const SIDECAR = 'manireports_cloud_sidecar';

    /**
     * Whether pages may hand mail back: the lease has been dead for ten minutes.
     */
    public static function possible(): bool {
        global $DB;
        return self::is_dead($DB->get_record(self::SIDECAR, [], 'id, lease_expires, last_seen', IGNORE_MULTIPLE));
    }

    /**
     * Hands back what may be handed back of a job, which takes no more mail from now on.
     *
     * Nothing changes while a sidecar leads: it is asked to `release` the job instead.
     *
     * @param int $jobid
     * @return \stdClass returned: mails that are Moodle's again; held: mails of it that wait still
     * @throws \moodle_exception if a sidecar leads, or may still
     */
    public static function job(int $jobid): \stdClass {
        return self::hand_back($jobid, [self::class, 'require_dead']);
    }

    /**
     * Hands back all that may be handed back, when the plugin goes: no sidecar leads from now on.
     *
     * @return \stdClass[] by job id: returned, held, label
     */
    public static function everything(): array {
        global $DB;
        // Every transaction of the sidecar asks for its lease first, and finds it gone.
        $DB->set_field_select(self::SIDECAR, 'lease_token', 'uninstalled', '1 = 1');
        $DB->set_field_select(self::SIDECAR, 'lease_expires', time() + YEARSECS, '1 = 1');
        [$waits, $params] = $DB->get_in_or_equal(states::WAITING, SQL_PARAMS_NAMED);
        $jobs = $DB->get_records_sql(
            "SELECT j.id, j.label
               FROM {manireports_cloud_jobs} j
              WHERE EXISTS (SELECT 1 FROM {" . self::RECIPIENTS . "} r WHERE r.job_id = j.id AND r.status $waits)
           ORDER BY j.id",
            $params
        );
        $result = [];
        foreach ($jobs as $job) {
            $done = self::hand_back((int)$job->id, fn() => null);
            $done->label = $job->label;
            $result[$job->id] = $done;
        }
        return $result;
    }

    /**
     * The work of both.
     *
     * @param int $jobid
     * @param callable $guard throws, inside each transaction, unless no sidecar leads
     */
    private static function hand_back(int $jobid, callable $guard): \stdClass {
        global $DB;
        $job = $DB->get_record('manireports_cloud_jobs', ['id' => $jobid], '*', MUST_EXIST);
        $source = $job->parent_job_id ? null : give_back_source::of($job->source);
        $returned = 0;
        $last = 0;
        do {
            \core_php_time_limit::raise(300);
            $transaction = $DB->start_delegated_transaction();
            try {
                $guard();
                $rows = $source ? self::returnable($jobid, $last) : [];
                if ($rows) {
                    $last = max(array_keys($rows));
                    $back = $source->return($rows);
                    $returned += self::mark_returned($jobid, $back);
                }
                if (count($rows) < self::PAGE) {
                    $DB->set_field_select(
                        'manireports_cloud_jobs',
                        'closed_at',
                        time(),
                        'id = :id AND closed_at IS NULL',
                        ['id' => $jobid]
                    );
                    states::refresh($jobid);
                }
                $transaction->allow_commit();
            } catch (\Throwable $e) {
                $transaction->rollback($e);
            }
        } while (count($rows) === self::PAGE);
        return (object)['returned' => $returned, 'held' => self::count_waiting($jobid)];
    }

    /**
     * The next rows of a job of which no mail was ever submitted or ended, locked.
     *
     * @param int $jobid
     * @param int $after rows with a greater id
     * @return \stdClass[] by source_id: source_id, source_stamp, created_at (our mark), userid, recipient_data
     */
    private static function returnable(int $jobid, int $after): array {
        global $DB;
        $sql = "SELECT r.source_id, r.source_stamp, b.created_at
                  FROM {" . self::RECIPIENTS . "} r
                  JOIN {manireports_cloud_import_batches} b ON b.id = r.batch_id
                 WHERE r.job_id = :job AND r.source_id > :after
              GROUP BY r.source_id, r.source_stamp, b.created_at
                HAVING MIN(CASE WHEN r.status = 'pending' AND r.tries = 0 THEN 1 ELSE 0 END) = 1
              ORDER BY r.source_id";
        $rows = $DB->get_records_sql($sql, ['job' => $jobid, 'after' => $after], 0, self::PAGE);
        if (!$rows) {
            return [];
        }
        [$in, $params] = $DB->get_in_or_equal(array_keys($rows), SQL_PARAMS_NAMED);
        $mails = $DB->get_records_sql(
            "SELECT id, source_id, userid, recipient_data, status, tries
               FROM {" . self::RECIPIENTS . "}
              WHERE job_id = :job AND source_id $in
                FOR UPDATE",
            $params + ['job' => $jobid]
        );
        foreach ($mails as $mail) {
            if (!isset($rows[$mail->source_id])) {
                continue;
            }
            if ($mail->status !== 'pending' || $mail->tries) {
                unset($rows[$mail->source_id]);
                continue;
            }
            $rows[$mail->source_id]->userid = (int)$mail->userid;
            $rows[$mail->source_id]->recipient_data = $mail->recipient_data;
        }
        return $rows;
    }

    /**
     * The mails of these rows are Moodle's again.
     *
     * @param int $jobid
     * @param int[] $sourceids
     * @return int how many
     */
    private static function mark_returned(int $jobid, array $sourceids): int {
        global $DB;
        if (!$sourceids) {
            return 0;
        }
        [$in, $params] = $DB->get_in_or_equal($sourceids, SQL_PARAMS_NAMED);
        $where = "job_id = :job AND status = 'pending' AND source_id $in";
        $params['job'] = $jobid;
        $number = $DB->count_records_select(self::RECIPIENTS, $where, $params);
        $DB->execute(
            "UPDATE {" . self::RECIPIENTS . "}
                SET status = 'returned', secret = NULL, error_message = :reason, timemodified = :now
              WHERE $where",
            $params + ['reason' => 'handed back to Moodle', 'now' => time()]
        );
        return $number;
    }

    /**
     * Mails of a job that wait to be sent or are being sent.
     *
     * @param int $jobid
     */
    private static function count_waiting(int $jobid): int {
        global $DB;
        [$in, $params] = $DB->get_in_or_equal(states::WAITING, SQL_PARAMS_NAMED);
        return $DB->count_records_select(self::RECIPIENTS, "job_id = :job AND status $in", $params + ['job' => $jobid]);
    }

    /**
     * Throws unless the lease has been dead for ten minutes; no sidecar can take it until the transaction ends.
     */
    private static function require_dead(): void {
        global $DB;
        $rows = $DB->get_records_sql('SELECT id, lease_expires, last_seen FROM {' . self::SIDECAR . '} FOR UPDATE');
        if (!self::is_dead(reset($rows))) {
            throw new \moodle_exception('cloudsidecarleads', 'local_manireports');
        }
    }

    /**
     * Whether no sidecar has led for ten minutes, by the database's clock, which is the sidecar's.
     *
     * @param \stdClass|false $row
     */
    private static function is_dead($row): bool {
        global $DB;
        if (!$row) {
            return true;
        }
        $clock = $DB->get_dbfamily() === 'postgres' ? 'FLOOR(EXTRACT(EPOCH FROM statement_timestamp()))' : 'UNIX_TIMESTAMP()';
        $now = (int)$DB->get_field_sql("SELECT $clock" . $DB->sql_null_from_clause());
        return max((int)$row->lease_expires, (int)$row->last_seen) < $now - self::DEAD_SECONDS;
    }
}
