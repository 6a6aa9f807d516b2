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

use local_manireports\event\cloud_suppressions_changed;

/**
 * Addresses that get no bulk mail: every query of the pages on manireports_cloud_suppressions.
 *
 * Addresses are stored as they go to the wire, in lower case. Company 0 means the whole site. The sidecar looks when it claims
 * mail and again before it leaves, so that pages write the rows themselves, whether it runs or not.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class suppressions {
    /** @var string table name */
    private const TABLE = 'manireports_cloud_suppressions';

    /** @var string[] every bulk mail, or campaigns only; an empty scope is the first */
    public const SCOPES = ['all', 'campaigns'];

    /** @var string[] why */
    public const REASONS = ['manual', 'unsubscribe', 'bounce', 'complaint'];

    /** @var int addresses that may be given at once */
    public const MANY = 10000;

    /** @var string begins an entry whose person was deleted: only a hash of the address is kept */
    public const HASHED = 'sha256:';

    /** @var int addresses that are looked for in one query */
    private const CHUNK = 500;

    /**
     * The entries that the current user may see, the newest first.
     *
     * @param suppressions_filter $filter
     * @param int $page from 0
     * @param int $size
     * @return \stdClass[]
     */
    public static function page(suppressions_filter $filter, int $page, int $size): array {
        global $DB;
        [$where, $params] = self::where($filter);
        $columns = 's.id, s.email, s.company_id, s.scope, s.reason, s.job_id, s.created_at';
        $sql = "SELECT $columns FROM {" . self::TABLE . "} s WHERE $where ORDER BY s.id DESC";
        return $DB->get_records_sql($sql, $params, $page * $size, $size);
    }

    /**
     * How many entries the current user may see.
     *
     * @param suppressions_filter $filter
     */
    public static function count(suppressions_filter $filter): int {
        global $DB;
        [$where, $params] = self::where($filter);
        return $DB->count_records_sql('SELECT COUNT(1) FROM {' . self::TABLE . "} s WHERE $where", $params);
    }

    /**
     * Whether the current user may remove an entry, or add one.
     *
     * @param int $company
     */
    public static function can_change(int $company): bool {
        return access::can(access::MANAGE, $company);
    }

    /**
     * Whether any entry concerns a company.
     *
     * @param int $company
     */
    public static function concern(int $company): bool {
        global $DB;
        return $DB->record_exists_select(self::TABLE, 'company_id IN (0, :company)', ['company' => $company]);
    }

    /**
     * Suppress addresses.
     *
     * @param string[] $addresses as people write them
     * @param int $company for which the current user may do it
     * @param string $scope one of SCOPES
     * @return \stdClass added, known (numbers), wrong (texts that are no addresses)
     */
    public static function add(array $addresses, int $company, string $scope): \stdClass {
        global $DB;
        access::require(access::MANAGE, $company);
        if (!in_array($scope, self::SCOPES, true)) {
            throw new \invalid_parameter_exception('scope: ' . $scope);
        }
        $good = [];
        $wrong = [];
        foreach ($addresses as $address) {
            $clean = self::to_ascii($address);
            if ($clean === '') {
                $wrong[] = $address;
            } else {
                $good[$clean] = true;
            }
        }
        $added = 0;
        $now = time();
        $transaction = $DB->start_delegated_transaction();
        foreach (array_chunk(array_map('strval', array_keys($good)), self::CHUNK) as $chunk) {
            $new = array_diff($chunk, self::known($chunk, $company, $scope));
            $added += count($new);
            $DB->insert_records(self::TABLE, array_map(fn($email) => [
                'email' => $email,
                'company_id' => $company,
                'scope' => $scope,
                'reason' => 'manual',
                'created_at' => $now,
            ], array_values($new)));
        }
        $transaction->allow_commit();
        if ($added) {
            cloud_suppressions_changed::of_company($company, 'added', $added)->trigger();
        }
        return (object)['added' => $added, 'known' => count($good) - $added, 'wrong' => $wrong];
    }

    /**
     * Let addresses have mail again.
     *
     * @param int[] $ids entries; those that the current user may not remove are left alone
     * @return int how many were removed
     */
    public static function remove(array $ids): int {
        global $DB;
        if (!$ids) {
            return 0;
        }
        [$in, $params] = $DB->get_in_or_equal(array_slice($ids, 0, self::MANY), SQL_PARAMS_NAMED);
        [$mine, $more] = access::sql(access::MANAGE, 'company_id');
        $params += $more;
        $transaction = $DB->start_delegated_transaction();
        $found = $DB->get_records_select_menu(self::TABLE, "id $in AND $mine", $params, '', 'id, company_id');
        $DB->delete_records_list(self::TABLE, 'id', array_keys($found));
        $transaction->allow_commit();
        foreach (array_count_values(array_map('intval', $found)) as $company => $number) {
            cloud_suppressions_changed::of_company((int)$company, 'removed', $number)->trigger();
        }
        return count($found);
    }

    /**
     * Addresses out of a text, one a line, or between commas, semicolons or blanks.
     *
     * @param string $text
     * @return string[]
     */
    public static function split(string $text): array {
        return array_values(array_unique(preg_split('/[\s,;]+/u', fix_utf8($text), -1, PREG_SPLIT_NO_EMPTY)));
    }

    /**
     * An address as it goes to the wire, in lower case.
     *
     * @param string $address
     * @return string empty: it is none
     */
    public static function to_ascii(string $address): string {
        $address = trim($address, " \t\n\r\0\x0B<>");
        $at = strrpos($address, '@');
        if ($at === false || $at > 64 || preg_match('/[^\x21-\x7e]/', substr($address, 0, $at))) {
            return '';
        }
        $domain = substr($address, $at + 1);
        if (preg_match('/[^\x21-\x7e]/', $domain)) {
            $domain = function_exists('idn_to_ascii') ? (string)idn_to_ascii($domain, IDNA_DEFAULT, INTL_IDNA_VARIANT_UTS46) : '';
        }
        $address = \core_text::strtolower(substr($address, 0, $at + 1) . $domain);
        return strlen($address) <= 254 && validate_email($address) ? $address : '';
    }

    /**
     * Those of the addresses that just this was said of already.
     *
     * @param string[] $emails in lower case
     * @param int $company
     * @param string $scope
     * @return string[]
     */
    private static function known(array $emails, int $company, string $scope): array {
        global $DB;
        // A person who was deleted is known by the hash.
        $hashes = array_combine($emails, array_map(fn($email) => self::HASHED . hash('sha256', $email), $emails));
        $forms = array_merge($emails, array_values($hashes));
        [$in, $params] = $DB->get_in_or_equal($forms, SQL_PARAMS_NAMED);
        [$same, $more] = $DB->get_in_or_equal($scope === 'all' ? ['', 'all'] : [$scope], SQL_PARAMS_NAMED, 'scope');
        $there = $DB->get_fieldset_select(
            self::TABLE,
            'DISTINCT email',
            "email $in AND company_id = :company AND scope $same",
            $params + $more + ['company' => $company]
        );
        $there = array_flip(array_map([\core_text::class, 'strtolower'], $there));
        return array_values(array_filter($emails, fn($email) => isset($there[$email]) || isset($there[$hashes[$email]])));
    }

    /**
     * The condition for what the current user may see: their companies, and of the whole site's entries those of their users.
     *
     * @param suppressions_filter $filter
     * @return array [$sql, $params]
     */
    private static function where(suppressions_filter $filter): array {
        global $DB;
        [$where, $params] = access::sql(access::VIEW, 's.company_id');
        $companies = access::companies(access::VIEW);
        if ($companies) {
            [$in, $more] = $DB->get_in_or_equal($companies, SQL_PARAMS_NAMED, 'member');
            $where = "($where OR (s.company_id = 0 AND s.email IN (
                            SELECT LOWER(u.email)
                              FROM {user} u
                              JOIN {company_users} cu ON cu.userid = u.id
                             WHERE cu.companyid $in AND u.deleted = 0)))";
            $params += $more;
        }
        [$filtered, $more] = $filter->sql();
        return ["$where AND $filtered", $params + $more];
    }
}
