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
 * Takes persons out of rows that stay.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class forgetting {
    /** @var string how a suppression begins of which only a hash is kept (sidecar/store/suppressions.py) */
    public const HASHED = 'sha256:';

    /** @var int rows that are changed together */
    private const PAGE = 500;

    /** @var string table name */
    private const RECIPIENTS = 'manireports_cloud_recipients';

    /** @var array error texts: table => column */
    private const TEXTS = ['jobs' => 'error_log', 'import_batches' => 'error_message', 'recipients' => 'error_message'];

    /** @var string what stands where an address was */
    private const GONE = '[deleted]';

    /** @var string[] addresses that no text may name any more */
    private array $addresses;

    /**
     * For these addresses.
     *
     * @param string[] $addresses lower case
     */
    public function __construct(array $addresses) {
        $this->addresses = $addresses;
    }

    /**
     * Recipients: what was not sent yet is cancelled; what names the person in copies to others goes too.
     *
     * @param string $where
     * @param array $params
     */
    public function recipients(string $where, array $params): void {
        global $DB;
        $last = 0;
        $jobs = [];
        while (
            $rows = $DB->get_records_select(
                self::RECIPIENTS,
                "id > :last AND $where",
                $params + ['last' => $last],
                'id',
                'id, job_id, batch_id, source, source_id, source_stamp, role, status',
                0,
                self::PAGE
            )
        ) {
            \core_php_time_limit::raise(300);
            $last = (int)array_key_last($rows);
            $transaction = $DB->start_delegated_transaction();
            [$in, $ids] = $DB->get_in_or_equal(array_keys($rows), SQL_PARAMS_NAMED);
            $DB->execute(
                "UPDATE {" . self::RECIPIENTS . "}
                    SET status = 'cancelled', error_code = 'forgotten'
                  WHERE id $in AND status IN ('pending', 'retry_pending', 'failed')",
                $ids
            );
            $DB->execute(
                "UPDATE {" . self::RECIPIENTS . "}
                    SET email = '', userid = 0, recipient_data = NULL, secret = NULL, error_message = NULL, message_id = ''
                  WHERE id $in",
                $ids
            );
            foreach ($rows as $row) {
                if ($row->role === 'user') {
                    $this->copies($row);
                }
                $jobs[$row->job_id] = true;
            }
            $transaction->allow_commit();
        }
        $this->jobs(array_keys($jobs));
    }

    /**
     * Copies of a mail about the person say no name any more.
     *
     * @param \stdClass $row the mail to the person
     */
    private function copies(\stdClass $row): void {
        global $DB;
        $DB->set_field_select(
            self::RECIPIENTS,
            'recipient_data',
            null,
            'source = :source AND source_id = :sourceid AND source_stamp = :stamp',
            ['source' => $row->source, 'sourceid' => $row->source_id, 'stamp' => $row->source_stamp]
        );
    }

    /**
     * Brings jobs up to date that may have lost mails that waited.
     *
     * @param int[] $ids
     */
    private function jobs(array $ids): void {
        global $DB;
        foreach (array_chunk($ids, self::PAGE) as $page) {
            foreach ($DB->get_records_list('manireports_cloud_jobs', 'id', $page) as $job) {
                if (in_array($job->status, ['cancelled', 'completed', 'returned'], true)) {
                    continue;
                }
                $transaction = $DB->start_delegated_transaction();
                if ($job->source !== upgrade\earlier_recipients::SOURCE) {
                    states::refresh((int)$job->id);
                }
                $transaction->allow_commit();
            }
        }
    }

    /**
     * Error texts, requests and processed reports that name an address.
     */
    public function texts(): void {
        global $DB;
        foreach ($this->addresses as $address) {
            $like = ['like' => '%' . $DB->sql_like_escape($address) . '%'];
            foreach (self::TEXTS as $table => $column) {
                $named = $DB->sql_like($column, ':like', false);
                $rows = $DB->get_recordset_select("manireports_cloud_$table", $named, $like, '', "id, $column");
                foreach ($rows as $row) {
                    $text = str_ireplace($address, self::GONE, $row->$column);
                    $DB->set_field("manireports_cloud_$table", $column, $text, ['id' => $row->id]);
                }
                $rows->close();
            }
            $named = $DB->sql_like('payload', ':like', false) . ' AND processed_at IS NOT NULL';
            $DB->set_field_select('manireports_cloud_callbacks', 'payload', null, $named, $like);
            $params = $DB->sql_like('params', ':like', false);
            $answer = $DB->sql_like('answer', ':other', false);
            $asked = "answered_at IS NOT NULL AND ($params OR $answer)";
            self::empty_requests($asked, $like + ['other' => $like['like']]);
        }
    }

    /**
     * Requests: nobody asked for them, and those that were answered say nothing any more.
     *
     * @param string $where
     * @param array $params
     */
    public static function requests(string $where, array $params): void {
        global $DB;
        self::empty_requests("answered_at IS NOT NULL AND $where", $params);
        $DB->set_field_select('manireports_cloud_requests', 'created_by', 'user:0', $where, $params);
    }

    /**
     * Takes question and answer out of requests.
     *
     * @param string $where
     * @param array $params
     */
    private static function empty_requests(string $where, array $params): void {
        global $DB;
        $DB->execute("UPDATE {manireports_cloud_requests} SET params = '{}', answer = NULL WHERE $where", $params);
    }

    /**
     * The outbox: what waits is never sent.
     *
     * @param string $where
     * @param array $params
     */
    public static function outbox(string $where, array $params): void {
        global $DB;
        $DB->set_field_select('manireports_cloud_outbox', 'status', 'cancelled', "status = 'waiting' AND $where", $params);
        $DB->execute("UPDATE {manireports_cloud_outbox} SET userid = 0, email = '', data = NULL WHERE $where", $params);
    }

    /**
     * Suppressions: a hash of the address keeps it from getting mail.
     *
     * @param string $where
     * @param array $params
     */
    public static function suppressions(string $where, array $params): void {
        global $DB;
        $rows = $DB->get_recordset_select('manireports_cloud_suppressions', $where, $params, '', 'id, email');
        foreach ($rows as $row) {
            if (!str_starts_with($row->email, self::HASHED)) {
                $hashed = self::hashed($row->email);
                $DB->set_field('manireports_cloud_suppressions', 'email', $hashed, ['id' => $row->id]);
            }
        }
        $rows->close();
    }

    /**
     * What is kept of a suppressed address.
     *
     * @param string $address
     */
    public static function hashed(string $address): string {
        return self::HASHED . hash('sha256', \core_text::strtolower($address));
    }
}
