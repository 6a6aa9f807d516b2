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

use local_manireports\api\cloud_job_manager;

/**
 * Every query of the pages on recipients: those of one job, and those of one person over all jobs.
 *
 * A job's recipients are listed state by state, those that need a person first, and by id within a state: that order is an
 * index's, so that a page of a job with a million recipients costs what a page of a small one does. A cursor names the last
 * row shown, as "state:id".
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class recipients {
    /** @var string table of recipients */
    public const TABLE = 'manireports_cloud_recipients';

    /** @var string columns that lists show; never the secret */
    private const COLUMNS = 'r.id, r.job_id, r.email, r.recipient_data, r.status, r.sent_at, r.error_message, r.role, r.userid,
        r.tries, r.error_code, r.message_id, r.retry_of, r.timemodified';

    /** @var int rows that a download reads at once */
    private const PAGE = 2000;

    /** @var int users that a search looks at */
    private const MOST_USERS = 20;

    /**
     * How many recipients a job has, by state, in the order in which they are listed.
     *
     * @param int $jobid
     * @return int[]
     */
    public static function states(int $jobid): array {
        global $DB;
        $sql = 'SELECT r.status, COUNT(1) FROM {' . self::TABLE . '} r WHERE r.job_id = :job GROUP BY r.status';
        $counts = array_map('intval', $DB->get_records_sql_menu($sql, ['job' => $jobid]));
        $known = array_fill_keys(vocabulary::RECIPIENT_STATES, 0);
        return array_filter(array_merge($known, $counts));
    }

    /**
     * Why mails of a job did not arrive: each reason with its number, the most frequent first.
     *
     * @param int $jobid
     * @return \stdClass[] status, error_code, number, and the text of one of them as example
     */
    public static function reasons(int $jobid): array {
        global $DB;
        $states = [...vocabulary::RECIPIENT_FAILED, 'retry_pending'];
        [$in, $params] = $DB->get_in_or_equal($states, SQL_PARAMS_NAMED, 'state');
        $sql = 'SELECT MIN(r.id) AS example, r.status, r.error_code, COUNT(1) AS number
                  FROM {' . self::TABLE . "} r
                 WHERE r.job_id = :job AND r.status $in
              GROUP BY r.status, r.error_code
              ORDER BY COUNT(1) DESC, MIN(r.id)";
        $reasons = $DB->get_records_sql($sql, ['job' => $jobid] + $params, 0, 20);
        $texts = $reasons ? $DB->get_records_list(self::TABLE, 'id', array_keys($reasons), '', 'id, error_message') : [];
        foreach ($reasons as $id => $reason) {
            $reason->error_message = (string)($texts[$id]->error_message ?? '');
        }
        return array_values($reasons);
    }

    /**
     * A page of a job's recipients.
     *
     * @param int $jobid
     * @param string $status only this state; empty: all
     * @param string $text part of the address or of the user's name; empty: all
     * @param string $after cursor of the row before the page; empty: from the beginning
     * @param string $before cursor of the row behind the page, instead of $after
     * @param int $limit
     * @return \stdClass rows; first and last: whether there is nothing before and behind them
     */
    public static function page(
        int $jobid,
        string $status = '',
        string $text = '',
        string $after = '',
        string $before = '',
        int $limit = 50
    ): \stdClass {
        $backwards = $before !== '' && $after === '';
        [$fromstate, $fromid] = self::cursor($backwards ? $before : $after);
        $states = $status === '' ? array_keys(self::states($jobid)) : [$status];
        if ($backwards) {
            $states = array_reverse($states);
        }
        $start = $fromstate === '' ? 0 : array_search($fromstate, $states, true);
        $rows = [];
        foreach ($start === false ? [] : array_slice($states, $start) as $state) {
            $id = $state === $fromstate ? $fromid : null;
            $rows = [...$rows, ...self::in_state($jobid, $state, $text, $id, $backwards, $limit + 1 - count($rows))];
            if (count($rows) > $limit) {
                break;
            }
        }
        $more = count($rows) > $limit;
        $rows = array_slice($rows, 0, $limit);
        return (object)[
            'rows' => $backwards ? array_reverse($rows) : $rows,
            'first' => $backwards ? !$more : $fromstate === '',
            'last' => $backwards ? false : !$more,
        ];
    }

    /**
     * The cursor of a row.
     *
     * @param \stdClass $row
     */
    public static function cursor_of(\stdClass $row): string {
        return "$row->status:$row->id";
    }

    /**
     * Every recipient of a job in some states, read in pages.
     *
     * @param int $jobid
     * @param string[] $states empty: all
     * @return \Generator of \stdClass
     */
    public static function each(int $jobid, array $states = []): \Generator {
        foreach ($states ?: array_keys(self::states($jobid)) as $state) {
            $id = null;
            do {
                $rows = self::in_state($jobid, $state, '', $id, false, self::PAGE);
                yield from $rows;
                $id = $rows ? (int)end($rows)->id : null;
            } while (count($rows) === self::PAGE);
        }
    }

    /**
     * One recipient.
     *
     * @param int $id
     * @return \stdClass|null
     */
    public static function read(int $id): ?\stdClass {
        global $DB;
        $sql = 'SELECT ' . self::COLUMNS . ' FROM {' . self::TABLE . '} r WHERE r.id = :id';
        return $DB->get_record_sql($sql, ['id' => $id]) ?: null;
    }

    /**
     * Every mail to a person that the current user may see, newest first.
     *
     * @param int[] $userids
     * @param string[] $addresses
     * @param int $below only recipients with a smaller id; 0: all
     * @param int $limit
     * @return \stdClass[] with the label and company_id of the job, the provider of the batch, and the job that repeats the mail
     */
    public static function to_person(array $userids, array $addresses, int $below, int $limit): array {
        global $DB;
        [$visible, $visibleparams] = access::sql(access::VIEW, 'j.company_id');
        $ids = [];
        foreach (['userid' => $userids, 'email' => $addresses] as $column => $values) {
            if (!$values) {
                continue;
            }
            // One index each: with OR the database would walk the primary key.
            [$in, $params] = $DB->get_in_or_equal($values, SQL_PARAMS_NAMED);
            $sql = 'SELECT r.id FROM {' . self::TABLE . '} r JOIN {' . cloud_job_manager::TABLE . "} j ON j.id = r.job_id
                     WHERE r.$column $in AND $visible" . ($below ? ' AND r.id < :below' : '') . ' ORDER BY r.id DESC';
            $found = $DB->get_records_sql($sql, $params + $visibleparams + ['below' => $below], 0, $limit);
            $ids += array_combine(array_keys($found), array_keys($found));
        }
        if (!$ids) {
            return [];
        }
        rsort($ids);
        [$in, $params] = $DB->get_in_or_equal(array_slice($ids, 0, $limit), SQL_PARAMS_NAMED);
        $sql = 'SELECT ' . self::COLUMNS . ', j.label, j.company_id, j.status AS jobstatus, b.provider,
                       (SELECT MAX(again.job_id) FROM {' . self::TABLE . '} again WHERE again.retry_of = r.id) AS repeated_by
                  FROM {' . self::TABLE . '} r
                  JOIN {' . cloud_job_manager::TABLE . '} j ON j.id = r.job_id
             LEFT JOIN {' . cloud_job_manager::BATCHES . "} b ON b.id = r.batch_id
                 WHERE r.id $in
              ORDER BY r.id DESC";
        return $DB->get_records_sql($sql, $params);
    }

    /**
     * Users of whom a text is part of the name, the username or the address: only those that the current user may know.
     *
     * @param string $text
     * @return \stdClass[] id, names, username, email; by id
     */
    public static function users(string $text): array {
        global $DB;
        $names = \core_user\fields::for_name()->get_sql('u', false, '', '', false)->selects;
        $fullname = $DB->sql_fullname('u.firstname', 'u.lastname');
        $conditions = [];
        $params = [];
        foreach ([$fullname, 'u.username', 'u.email'] as $number => $column) {
            $conditions[] = $DB->sql_like($column, ":text$number", false, false);
            $params["text$number"] = ($number ? '' : '%') . $DB->sql_like_escape($text) . '%';
        }
        [$known, $knownparams] = self::known_users();
        $sql = "SELECT u.id, u.username, u.email, $names
                  FROM {user} u
                 WHERE u.deleted = 0 AND (" . implode(' OR ', $conditions) . ") AND $known
              ORDER BY u.lastname, u.firstname, u.id";
        return $DB->get_records_sql($sql, $params + $knownparams, 0, self::MOST_USERS);
    }

    /**
     * Addresses that begin with a text, of any company's mail: what the user may see of them, {@see to_person} decides.
     *
     * @param string $text
     * @return string[]
     */
    public static function addresses(string $text): array {
        global $DB;
        // A range, which the index answers whatever the database's LIKE makes of capitals; no DISTINCT, which would read it all.
        $sql = 'SELECT r.id, r.email FROM {' . self::TABLE . '} r WHERE r.email >= :text AND r.email < :end ORDER BY r.email';
        $text = \core_text::strtolower($text);
        $params = ['text' => $text, 'end' => $text . str_repeat('z', 20)];
        $found = array_unique($DB->get_records_sql_menu($sql, $params, 0, self::PAGE));
        $found = array_filter($found, fn($email) => str_starts_with(\core_text::strtolower($email), $text));
        return array_slice(array_values($found), 0, self::MOST_USERS);
    }

    /**
     * A user, if the current user may know them.
     *
     * @param int $id
     * @return \stdClass|null id, names, username, email
     */
    public static function user(int $id): ?\stdClass {
        global $DB;
        $names = \core_user\fields::for_name()->get_sql('u', false, '', '', false)->selects;
        [$known, $params] = self::known_users();
        $sql = "SELECT u.id, u.username, u.email, $names FROM {user} u WHERE u.id = :id AND $known";
        return $DB->get_record_sql($sql, $params + ['id' => $id]) ?: null;
    }

    /**
     * Mail to a user that still waits in Moodle's own queues, of what the current user may see.
     *
     * @param int $userid
     * @return \stdClass[] subject (empty: a new password), due (Unix seconds; 0: now)
     */
    public static function waiting(int $userid): array {
        global $DB;
        $waiting = [];
        if (access::is_iomad()) {
            [$where, $params] = access::sql(access::VIEW, 'companyid');
            $select = "userid = :userid AND sent IS NULL AND $where";
            $params['userid'] = $userid;
            $waiting = $DB->get_records_select('email', $select, $params, 'due, id', 'id, subject, due', 0, 20);
        }
        $new = ['userid' => $userid, 'name' => 'create_password', 'value' => '1'];
        if (access::companies(access::VIEW) === null && $DB->record_exists('user_preferences', $new)) {
            $waiting[] = (object)['subject' => '', 'due' => 0];
        }
        return array_values($waiting);
    }

    /**
     * Why addresses get no bulk mail, of what the current user may see. Also known by their hash alone: those of deleted people.
     *
     * @param string[] $addresses
     * @return \stdClass[] email, company_id, scope, reason, created_at
     */
    public static function suppressions(array $addresses): array {
        global $DB;
        $addresses = array_map([\core_text::class, 'strtolower'], $addresses);
        $hashes = array_map(fn($address) => 'sha256:' . hash('sha256', $address), $addresses);
        if (!$addresses) {
            return [];
        }
        [$in, $params] = $DB->get_in_or_equal([...$addresses, ...$hashes], SQL_PARAMS_NAMED, 'address');
        [$mine, $mineparams] = access::sql(access::VIEW, 's.company_id');
        $sql = "SELECT s.id, s.email, s.company_id, s.scope, s.reason, s.created_at
                  FROM {manireports_cloud_suppressions} s
                 WHERE s.email $in AND ($mine OR s.company_id = 0)
              ORDER BY s.id";
        return $DB->get_records_sql($sql, $params + $mineparams, 0, 20);
    }

    /**
     * A condition on users: a company manager knows those of the own companies, who may see all knows everybody.
     *
     * @return array [$sql, $params]
     */
    private static function known_users(): array {
        [$mine, $params] = access::sql(access::VIEW, 'cu.companyid');
        if (access::companies(access::VIEW) === null) {
            return ['1 = 1', []];
        }
        if (!access::is_iomad()) {
            return ['1 = 0', []];
        }
        return ["EXISTS (SELECT 1 FROM {company_users} cu WHERE cu.userid = u.id AND $mine)", $params];
    }

    /**
     * Recipients of a job in one state, by id.
     *
     * @param int $jobid
     * @param string $state
     * @param string $text part of the address or of the user's name; empty: all
     * @param int|null $from id behind (or before) which they are; null: from the beginning (or end)
     * @param bool $backwards from the end
     * @param int $limit
     * @return \stdClass[]
     */
    private static function in_state(int $jobid, string $state, string $text, ?int $from, bool $backwards, int $limit): array {
        global $DB;
        $sql = 'SELECT ' . self::COLUMNS . ' FROM {' . self::TABLE . '} r';
        $where = ' WHERE r.job_id = :job AND r.status = :state';
        $params = ['job' => $jobid, 'state' => $state];
        if ($text !== '') {
            $sql .= ' LEFT JOIN {user} u ON u.id = r.userid';
            $fullname = $DB->sql_fullname('u.firstname', 'u.lastname');
            $where .= ' AND (' . $DB->sql_like('r.email', ':address', false, false)
                . ' OR ' . $DB->sql_like($fullname, ':name', false, false) . ')';
            $params['address'] = $params['name'] = '%' . $DB->sql_like_escape($text) . '%';
        }
        if ($from !== null) {
            $where .= $backwards ? ' AND r.id < :from' : ' AND r.id > :from';
            $params['from'] = $from;
        }
        $order = ' ORDER BY r.id' . ($backwards ? ' DESC' : '');
        return array_values($DB->get_records_sql($sql . $where . $order, $params, 0, $limit));
    }

    /**
     * What a cursor says; one that says nothing is the beginning.
     *
     * @param string $cursor
     * @return array [state, id]
     */
    private static function cursor(string $cursor): array {
        return preg_match('/^(\w{1,20}):(\d{1,18})$/', $cursor, $found) ? [$found[1], (int)$found[2]] : ['', 0];
    }
}
