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
use local_manireports\cloud\job_filter;
use local_manireports\cloud\vocabulary;

/**
 * Every query of the pages on jobs and batches. (On recipients: {@see \local_manireports\cloud\recipients};
 * on rates and days: {@see \local_manireports\cloud\job_figures}.)
 *
 * Everything that is read here is limited to what the current user may see.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class cloud_job_manager {
    /** @var string table of jobs */
    public const TABLE = 'manireports_cloud_jobs';

    /** @var string table of batches */
    public const BATCHES = 'manireports_cloud_import_batches';

    /** @var string columns that lists and pages show; error_log is long and not among them */
    private const COLUMNS = 'j.id, j.type, j.status, j.label, j.company_id, j.source, j.provider, j.email_count, j.copy_count,
        j.emails_sent, j.emails_failed, j.created_at, j.started_at, j.completed_at, j.closed_at, j.paused, j.parent_job_id,
        j.created_by';

    /** @var int rows that a download reads at once */
    private const PAGE = 1000;

    /**
     * How many jobs a filter finds.
     *
     * @param job_filter $filter
     */
    public static function count(job_filter $filter): int {
        global $DB;
        [$where, $params] = $filter->sql();
        return $DB->count_records_sql('SELECT COUNT(1) FROM {' . self::TABLE . "} j WHERE $where", $params);
    }

    /**
     * Jobs, newest first.
     *
     * @param job_filter $filter
     * @param int $page from 0
     * @param int $perpage
     * @return \stdClass[] by id
     */
    public static function list(job_filter $filter, int $page, int $perpage): array {
        global $DB;
        [$where, $params] = $filter->sql();
        $sql = 'SELECT ' . self::COLUMNS . ' FROM {' . self::TABLE . "} j WHERE $where ORDER BY j.id DESC";
        return $DB->get_records_sql($sql, $params, $page * $perpage, $perpage);
    }

    /**
     * Every job that a filter finds, newest first, read in pages.
     *
     * @param job_filter $filter
     * @return \Generator of \stdClass
     */
    public static function each(job_filter $filter): \Generator {
        global $DB;
        [$where, $params] = $filter->sql();
        $below = PHP_INT_MAX;
        do {
            $sql = 'SELECT ' . self::COLUMNS . ' FROM {' . self::TABLE . "} j WHERE $where AND j.id < :below ORDER BY j.id DESC";
            $jobs = $DB->get_records_sql($sql, ['below' => $below] + $params, 0, self::PAGE);
            yield from array_values($jobs);
            $below = $jobs ? (int)end($jobs)->id : 0;
        } while (count($jobs) === self::PAGE);
    }

    /**
     * One job.
     *
     * @param int $id
     * @param string $capability what the current user must hold for its company
     * @return \stdClass also with its error_log
     * @throws \moodle_exception if there is none, or none that the user may see: which of both is not told
     * @throws \required_capability_exception if the user may see it, but not more
     */
    public static function read(int $id, string $capability = access::VIEW): \stdClass {
        global $DB;
        $sql = 'SELECT ' . self::COLUMNS . ', j.error_log FROM {' . self::TABLE . '} j WHERE j.id = :id';
        $job = $DB->get_record_sql($sql, ['id' => $id]);
        if (!$job || !access::can(access::VIEW, (int)$job->company_id)) {
            $list = new \moodle_url('/local/manireports/ui/cloud_jobs.php');
            throw new \moodle_exception('cloudnojob', 'local_manireports', $list, $id);
        }
        access::require($capability, (int)$job->company_id);
        return $job;
    }

    /**
     * The jobs that repeat mails of another, oldest first.
     *
     * @param int $id of the other
     * @return \stdClass[] by id
     */
    public static function children(int $id): array {
        global $DB;
        $sql = 'SELECT ' . self::COLUMNS . ' FROM {' . self::TABLE . '} j WHERE j.parent_job_id = :id ORDER BY j.id';
        return $DB->get_records_sql($sql, ['id' => $id]);
    }

    /**
     * The batches of a job that say most: those that failed or wait first, then the newest.
     *
     * @param int $id of the job
     * @param int $limit
     * @return \stdClass[] by id
     */
    public static function batches(int $id, int $limit): array {
        global $DB;
        [$notended, $params] = $DB->get_in_or_equal(vocabulary::BATCH_ENDED, SQL_PARAMS_NAMED, 'ended', false);
        $sql = "SELECT b.id, b.batch_num, b.status, b.provider, b.email_count, b.sent_count, b.failed_count, b.attempt,
                       b.created_at, b.queued_at, b.next_attempt_at, b.completed_at, b.queue_message_id, b.error_message
                  FROM {" . self::BATCHES . "} b
                 WHERE b.job_id = :id
              ORDER BY CASE WHEN b.error_message IS NOT NULL THEN 0 WHEN b.status $notended THEN 1
                            WHEN b.failed_count > 0 THEN 2 ELSE 3 END, b.batch_num";
        return $DB->get_records_sql($sql, ['id' => $id] + $params, 0, $limit);
    }

    /**
     * How many batches a job has, by state.
     *
     * @param int $id of the job
     * @return int[]
     */
    public static function batch_states(int $id): array {
        global $DB;
        $sql = 'SELECT b.status, COUNT(1) FROM {' . self::BATCHES . '} b WHERE b.job_id = :id GROUP BY b.status ORDER BY b.status';
        return array_map('intval', $DB->get_records_sql_menu($sql, ['id' => $id]));
    }

    /**
     * The types that jobs have: those that we know, and whatever else is in the table.
     *
     * @return string[] words by type
     */
    public static function types(): array {
        global $DB;
        $there = $DB->get_fieldset_sql('SELECT DISTINCT j.type FROM {' . self::TABLE . '} j');
        $types = array_unique(array_merge(vocabulary::TYPES, $there));
        return array_combine($types, array_map([vocabulary::class, 'type'], $types));
    }

    /**
     * How many jobs that the user may see have not ended.
     */
    public static function count_running(): int {
        return self::count(new job_filter(status: job_filter::RUNNING));
    }

    /**
     * The names of users, deleted ones too.
     *
     * @param int[] $ids
     * @return string[] by id
     */
    public static function user_names(array $ids): array {
        global $DB;
        $ids = array_filter(array_unique(array_map('intval', $ids)));
        if (!$ids) {
            return [];
        }
        $fields = \core_user\fields::for_name()->get_sql('', false, '', '', false)->selects;
        return array_map('fullname', $DB->get_records_list('user', 'id', $ids, '', "id, $fields"));
    }
}
