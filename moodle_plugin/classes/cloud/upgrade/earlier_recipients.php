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
 * Turns recipients of an earlier ManiReports into ours: no clear passwords, states that say what is known.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class earlier_recipients {
    /** @var string the source of mails and jobs that an earlier version made */
    public const SOURCE = 'earlier';

    /** @var int rows that are changed together */
    private const PAGE = 1000;

    /** @var array words of earlier versions for what we call otherwise */
    private const STATES = [
        'sent' => 'sent',
        'delivered' => 'sent',
        'success' => 'sent',
        'failed' => 'permanently_failed',
        'error' => 'permanently_failed',
        'permanently_failed' => 'permanently_failed',
        'bounced' => 'permanently_failed',
        'complained' => 'permanently_failed',
        'cancelled' => 'cancelled',
    ];

    /** @var string the table, without prefix */
    private string $table;

    /**
     * For a table that has the columns of ours.
     *
     * @param string $table without prefix
     */
    public function __construct(string $table) {
        $this->table = $table;
    }

    /**
     * States that are longer than any of ours mean nothing to us: they become empty, and are read from the job.
     *
     * @param string $table without prefix
     */
    public static function shorten_states(string $table): void {
        global $DB;
        $DB->set_field_select($table, 'status', '', $DB->sql_length('status') . ' > 20');
    }

    /**
     * Changes every row that was not changed yet.
     */
    public function convert(): void {
        global $DB;
        $last = 0;
        while (
            $rows = $DB->get_records_select(
                $this->table,
                "id > :last AND source = ''",
                ['last' => $last],
                'id',
                'id, job_id, email, recipient_data, status, sent_at, error_message',
                0,
                self::PAGE
            )
        ) {
            \core_php_time_limit::raise(600);
            $last = (int)array_key_last($rows);
            $data = array_map(fn(\stdClass $row): array => self::data($row->recipient_data), $rows);
            $users = $this->users(array_column($data, 'username'));
            $jobs = self::jobs(array_unique(array_column($rows, 'job_id')));
            $transaction = $DB->start_delegated_transaction();
            foreach ($rows as $id => $row) {
                $DB->update_record($this->table, $this->changed($row, $data[$id], $jobs[$row->job_id] ?? null, $users), true);
            }
            $transaction->allow_commit();
        }
    }

    /**
     * A row as it is from now on.
     *
     * @param \stdClass $row as it was
     * @param string[] $data its recipient_data
     * @param \stdClass|null $job its job, as the earlier version left it
     * @param array $users username => user
     */
    private function changed(\stdClass $row, array $data, ?\stdClass $job, array $users): \stdClass {
        $secret = trim($data['password'] ?? '');
        $clean = fn(?string $text): string => $secret === '' ? (string)$text : str_replace($secret, '***', (string)$text);
        $state = self::STATES[strtolower(trim($row->status))] ?? self::state_by_job($job);
        $ended = (int)($job->completed_at ?? 0) ?: (int)($job->created_at ?? 0);
        $user = $users[\core_text::strtolower($data['username'] ?? '')] ?? null;
        $known = $user && \core_text::strtolower($user->email) === \core_text::strtolower($row->email);
        $kept = array_intersect_key($data, ['firstname' => 1, 'lastname' => 1, 'username' => 1]);
        $kept = array_map($clean, $kept);
        if (isset($data['custom_subject'])) {
            $kept['subject'] = $clean($data['custom_subject']);
        }
        $error = trim($clean($row->error_message));
        $hash = hash('sha256', self::SOURCE . "\x1f" . $row->id);
        return (object)[
            'id' => $row->id,
            'job_id' => $job->id ?? 0, // Another job may get the number of one that is gone.
            'recipient_data' => json_encode((object)$kept, JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE),
            'status' => $state,
            'sent_at' => $state === 'sent' ? ((int)$row->sent_at ?: $ended) : null,
            'error_message' => $error === '' ? null : $error,
            'error_code' => in_array($state, ['sent', 'cancelled'], true) ? '' : self::SOURCE,
            'source' => self::SOURCE,
            'source_id' => $row->id,
            'role' => 'user',
            'userid' => $known ? $user->id : 0,
            'email_hash' => $hash,
            'mail_key' => $hash,
            'timemodified' => (int)$row->sent_at ?: $ended,
        ];
    }

    /**
     * What is known of a mail that only its job tells of.
     *
     * @param \stdClass|null $job as the earlier version left it
     */
    private static function state_by_job(?\stdClass $job): string {
        if (!$job || !earlier_jobs::has_ended($job)) {
            return 'cancelled';
        }
        $sent = (int)$job->emails_sent;
        if ($sent >= (int)$job->email_count && !(int)$job->emails_failed) {
            return 'sent';
        }
        return $sent ? 'unknown' : 'permanently_failed';
    }

    /**
     * Those of the jobs that exist.
     *
     * @param int[] $ids
     */
    private static function jobs(array $ids): array {
        global $DB;
        if (!$DB->get_manager()->table_exists('manireports_cloud_jobs')) {
            return [];
        }
        return $DB->get_records_list('manireports_cloud_jobs', 'id', $ids);
    }

    /**
     * The texts in recipient_data; none if it cannot be read, because then nobody knows what is in it.
     *
     * @param string|null $json
     * @return string[]
     */
    private static function data(?string $json): array {
        $data = json_decode((string)$json, true);
        return is_array($data) ? array_map('strval', array_filter($data, 'is_scalar')) : [];
    }

    /**
     * Users of this site by user name, in lower case.
     *
     * @param string[] $usernames
     */
    private function users(array $usernames): array {
        global $CFG, $DB;
        $names = array_filter(array_unique(array_map([\core_text::class, 'strtolower'], $usernames)), 'strlen');
        if (!$names) {
            return [];
        }
        [$in, $params] = $DB->get_in_or_equal($names, SQL_PARAMS_NAMED);
        $users = $DB->get_records_select(
            'user',
            "username $in AND mnethostid = :host AND deleted = 0",
            $params + ['host' => $CFG->mnet_localhost_id],
            '',
            'id, username, email'
        );
        return array_column($users, null, 'username');
    }
}
