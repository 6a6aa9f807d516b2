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

use core\encryption;
use xmldb_table;

/**
 * Takes over the tables of a ManiReports that was here before: its jobs, recipients and company settings.
 *
 * A table is changed under its old name and renamed when all of it fits, so that an interrupted run is simply repeated.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class earlier {
    /** @var string what the earlier version called company_settings */
    private const COMPANIES = 'manireports_cloud_conf';

    /** @var string what the earlier version called recipients */
    private const RECIPIENTS = 'manireports_cloud_recip';

    /** @var string[] columns of company settings that are never stored in clear */
    private const SECRETS = ['aws_access_key', 'aws_secret_key', 'cloudflare_api_token'];

    /** @var string[] providers that a company may have */
    private const PROVIDERS = ['smtp', 'aws', 'cloudflare'];

    /** @var string how a value begins that \core\encryption wrote */
    private const ENCRYPTED = '/^(sodium|openssl-aes-256-ctr):/';

    /**
     * Does all that is still to do; nothing where nothing is left.
     *
     * @return string[] what the admin must know, in words
     */
    public static function take_over(): array {
        $companies = self::companies();
        self::recipients();
        tables::ensure();
        earlier_jobs::convert();
        $notices = [];
        if ($companies) {
            set_config('cloudtakenover', implode(',', $companies), 'local_manireports');
            $notices[] = get_string('cloudtakenovernotice', 'local_manireports', count($companies));
        }
        if (get_config('local_manireports', 'cloudkeyslost')) {
            $notices[] = get_string('cloudkeyslostnotice', 'local_manireports');
        }
        return $notices;
    }

    /**
     * Company settings: keys encrypted, nobody enabled.
     *
     * @return int[] the companies that were taken over now
     */
    private static function companies(): array {
        global $DB;
        if (!self::there(self::COMPANIES)) {
            return [];
        }
        self::drop_index(self::COMPANIES, 'company_id');
        $DB->delete_records_select(
            self::COMPANIES,
            'id NOT IN (SELECT newest FROM (SELECT MAX(id) AS newest FROM {' . self::COMPANIES . '} GROUP BY company_id) n)'
        );
        tables::columns_like(self::COMPANIES, 'manireports_cloud_company_settings');
        foreach ($DB->get_records(self::COMPANIES, null, 'id') as $row) {
            $row->provider = strtolower(trim($row->provider));
            if (!in_array($row->provider, self::PROVIDERS, true)) {
                $row->provider = '';
            }
            $row->enabled = 0;
            foreach (self::SECRETS as $secret) {
                $row->$secret = self::encrypted($row->$secret);
            }
            $DB->update_record(self::COMPANIES, $row);
        }
        $companies = array_map('intval', $DB->get_fieldset_select(self::COMPANIES, 'company_id', '1 = 1'));
        self::rename(self::COMPANIES, 'manireports_cloud_company_settings', 'company_id');
        return $companies;
    }

    /**
     * Recipients: without passwords, with the states of mails that this version knows.
     */
    private static function recipients(): void {
        if (!self::there(self::RECIPIENTS)) {
            return;
        }
        self::drop_index(self::RECIPIENTS, 'job_id');
        // While the states of the earlier version are longer than ours, they must not be cut.
        earlier_recipients::shorten_states(self::RECIPIENTS);
        tables::columns_like(self::RECIPIENTS, 'manireports_cloud_recipients');
        (new earlier_recipients(self::RECIPIENTS))->convert();
        self::rename(self::RECIPIENTS, 'manireports_cloud_recipients', 'email_hash');
    }

    /**
     * A key as it may be stored.
     *
     * Where the site has no key of its own and may not make one, the value is dropped: it can be entered again, and
     * must not stay in clear.
     *
     * @param string|null $value
     */
    private static function encrypted(?string $value): ?string {
        $value = trim((string)$value);
        if ($value === '') {
            return null;
        }
        if (preg_match(self::ENCRYPTED, $value)) {
            return $value;
        }
        try {
            return encryption::encrypt($value);
        } catch (\moodle_exception $e) {
            set_config('cloudkeyslost', time(), 'local_manireports');
            return null;
        }
    }

    /**
     * Gives a table the name that it has now.
     *
     * @param string $old
     * @param string $new
     * @param string $unique a column by which rows of both tables are told apart
     */
    private static function rename(string $old, string $new, string $unique): void {
        global $DB;
        $dbman = $DB->get_manager();
        if (!self::there($new)) {
            $dbman->rename_table(new xmldb_table($old), $new);
            return;
        }
        // The sidecar has made its table already: what it holds stays, ours joins it.
        $columns = array_diff(array_keys($DB->get_columns($old, false)), ['id']);
        $common = array_intersect($columns, array_keys($DB->get_columns($new, false)));
        $list = implode(', ', $common);
        $transaction = $DB->start_delegated_transaction();
        $DB->execute(
            "INSERT INTO {{$new}} ($list)
                  SELECT $list
                    FROM {{$old}} o
                   WHERE NOT EXISTS (SELECT 1 FROM {{$new}} n WHERE n.$unique = o.$unique)"
        );
        $transaction->allow_commit();
        $dbman->drop_table(new xmldb_table($old));
    }

    /**
     * Drops the index that a foreign key of the earlier version made.
     *
     * @param string $table
     * @param string $column
     */
    private static function drop_index(string $table, string $column): void {
        global $DB;
        $index = new \xmldb_index('earlier', XMLDB_INDEX_NOTUNIQUE, [$column]);
        if ($DB->get_manager()->index_exists(new xmldb_table($table), $index)) {
            $DB->get_manager()->drop_index(new xmldb_table($table), $index);
        }
    }

    /**
     * Whether a table exists.
     *
     * @param string $name without prefix
     */
    private static function there(string $name): bool {
        global $DB;
        return $DB->get_manager()->table_exists($name);
    }
}
