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
 * How a company's mail is sent: every query of the pages on manireports_cloud_company_settings.
 *
 * The sidecar reads the rows anew in each of its cycles, so that pages write them themselves, whether it runs or not.
 * Company 0 gives the defaults of all others, and holds for mail without a company; enabled and paused are never inherited.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class company_settings {
    /** @var string table name */
    public const TABLE = 'manireports_cloud_company_settings';

    /** @var array[] columns with a choice, and what may be chosen */
    public const CHOICES = [
        'provider' => ['smtp', 'aws', 'cloudflare'],
        'manager_copies' => ['each', 'none'],
        'fallback' => ['hold', 'smtp', 'moodle'],
    ];

    /** @var int[] columns with a number, and the least that is allowed; empty: the default */
    public const NUMBERS = ['bulk_threshold' => 1, 'max_send_rate' => 0, 'daily_quota' => 0];

    /** @var string[] columns that only a provider with an account needs, by provider */
    public const OF_PROVIDER = [
        'aws' => [
            'aws_region', 'aws_access_key', 'aws_secret_key', 'aws_role_arn', 'aws_external_id', 'sqs_queue_url',
            'results_queue_url', 'feedback_queue_url', 'ledger_table', 'ses_configuration_set',
        ],
        'cloudflare' => [
            'cloudflare_account_id', 'cloudflare_api_token', 'cloudflare_queue_id', 'cloudflare_results_queue_id',
            'cloudflare_worker_url',
        ],
    ];

    /** @var string[] further columns with a text */
    public const TEXTS = ['ses_sender_email', 'sender_name', 'send_window'];

    /** @var string[] columns that are stored encrypted and never shown */
    public const SECRETS = ['aws_access_key', 'aws_secret_key', 'cloudflare_api_token'];

    /** @var string[] columns that go with an access key: none of them is inherited beside a key of one's own */
    public const OF_THE_KEY = ['aws_secret_key', 'aws_role_arn', 'aws_external_id'];

    /** @var array what holds where nobody chose anything */
    private const BUILT_IN = [
        'provider' => 'smtp', 'manager_copies' => 'each', 'bulk_threshold' => 10, 'max_send_rate' => 0, 'daily_quota' => 0,
    ];

    /** @var int how long a replaced callback key stays valid: the worker learns the new one meanwhile */
    public const OLD_KEY_SECONDS = DAYSECS;

    /**
     * The columns that a person may set and that this site's table has.
     *
     * @return string[]
     */
    public static function columns(): array {
        global $DB;
        $all = array_merge(
            array_keys(self::CHOICES),
            array_keys(self::NUMBERS),
            ...array_values(self::OF_PROVIDER),
            ...[self::TEXTS, ['enabled']]
        );
        return array_values(array_intersect($all, array_keys($DB->get_columns(self::TABLE))));
    }

    /**
     * The longest text of a column; 0: any.
     *
     * @param string $column
     */
    public static function longest(string $column): int {
        global $DB;
        $info = $DB->get_columns(self::TABLE)[$column] ?? null;
        return $info && $info->meta_type === 'C' ? (int)$info->max_length : 0;
    }

    /**
     * What a company has set itself.
     *
     * @param int $company
     * @return \stdClass every column; null or empty where nothing is set, also if there is no row yet
     */
    public static function own(int $company): \stdClass {
        global $DB;
        $row = $DB->get_record(self::TABLE, ['company_id' => $company]);
        if ($row) {
            return $row;
        }
        $row = array_fill_keys(array_keys($DB->get_columns(self::TABLE)), null);
        return (object)(['company_id' => $company, 'enabled' => 0, 'paused' => 0] + $row);
    }

    /**
     * What holds for a company where it sets nothing itself.
     *
     * @param int $company
     * @return array by column; secrets stay encrypted
     */
    public static function inherited(int $company): array {
        $inherited = self::BUILT_IN + array_fill_keys(self::columns(), '');
        unset($inherited['enabled']);
        if ($company) {
            foreach (self::own(0) as $column => $value) {
                if (array_key_exists($column, $inherited) && !self::is_unset($value)) {
                    $inherited[$column] = $value;
                }
            }
        }
        return $inherited;
    }

    /**
     * What holds for a company, defaults filled in as the sidecar does.
     *
     * @param int $company
     * @param array $changed values that are about to be set, by column; secrets may be in clear
     */
    public static function effective(int $company, array $changed = []): \stdClass {
        $own = (object)(array_merge((array)self::own($company), $changed));
        $ownkey = !self::is_unset($own->aws_access_key ?? null);
        foreach (self::inherited($company) as $column => $value) {
            if (self::is_unset($own->$column ?? null)) {
                $own->$column = $ownkey && in_array($column, self::OF_THE_KEY, true) ? '' : $value;
            }
        }
        if ($company && self::is_unset($own->callback_key)) {
            $default = self::own(0);
            foreach (['callback_key', 'callback_key_old', 'callback_old_until'] as $column) {
                $own->$column = $default->$column;
            }
        }
        return $own;
    }

    /**
     * Whether a stored value says nothing: zero is a choice, an empty text is none.
     *
     * @param mixed $value
     */
    public static function is_unset($value): bool {
        return $value === null || $value === '';
    }

    /**
     * Set values of a company and tell Moodle's log which ones changed.
     *
     * @param int $company
     * @param array $values by column, checked by {@see settings_rules}; secrets in clear, null removes them
     * @return string[] the columns that changed
     */
    public static function save(int $company, array $values): array {
        global $DB;
        $values = array_intersect_key($values, array_flip(self::columns()));
        // Encrypted before anything is locked: the first time the site's key is made.
        foreach (array_intersect(self::SECRETS, array_keys($values)) as $column) {
            $values[$column] = self::is_unset($values[$column]) ? null : \core\encryption::encrypt($values[$column]);
        }
        self::ensure($company);
        $transaction = $DB->start_delegated_transaction();
        $row = self::lock($company);
        $changes = array_filter($values, fn($value, $column) => self::differs($row->$column, $value), ARRAY_FILTER_USE_BOTH);
        if ($changes) {
            $DB->update_record(self::TABLE, (object)($changes + ['id' => $row->id]));
        }
        $transaction->allow_commit();
        $names = array_keys($changes);
        secret_dates::note($company, array_intersect_key($changes, array_flip(self::SECRETS)));
        if ($names) {
            \local_manireports\event\cloud_settings_changed::of_company($company, $names)->trigger();
        }
        return $names;
    }

    /**
     * Hold a company's mail, or let it go on. The sidecar is asked too, so that it takes back what providers have.
     *
     * @param int $company
     * @param bool $pause
     * @return int id of the request
     */
    public static function pause(int $company, bool $pause): int {
        global $DB;
        self::ensure($company);
        $transaction = $DB->start_delegated_transaction();
        $row = self::lock($company);
        $DB->set_field(self::TABLE, 'paused', (int)$pause, ['id' => $row->id]);
        $request = requests::ask($pause ? 'pause' : 'resume', ['what' => 'company', 'id' => $company]);
        $transaction->allow_commit();
        \local_manireports\event\cloud_settings_changed::of_company($company, ['paused'])->trigger();
        return $request;
    }

    /**
     * Give a company's worker a new key; the one before stays valid for a day, one before that no longer.
     *
     * @param int $company
     * @return string[] the key's name and its secret, which is never readable again
     */
    public static function new_callback_key(int $company): array {
        global $DB;
        $name = "c$company-" . bin2hex(random_bytes(8));
        $secret = bin2hex(random_bytes(32));
        $changes = ['callback_key' => $name, 'callback_secret' => \core\encryption::encrypt($secret)];
        self::ensure($company);
        $transaction = $DB->start_delegated_transaction();
        $row = self::lock($company);
        if (!self::is_unset($row->callback_key)) {
            $changes['callback_key_old'] = $row->callback_key;
            $changes['callback_secret_old'] = $row->callback_secret;
            $changes['callback_old_until'] = time() + self::OLD_KEY_SECONDS;
        }
        $DB->update_record(self::TABLE, (object)($changes + ['id' => $row->id]));
        $transaction->allow_commit();
        \local_manireports\event\cloud_settings_changed::of_company($company, ['callback_key'])->trigger();
        return [$name, $secret];
    }

    /**
     * Make a company's row, unless it is there. To be called before a transaction begins.
     *
     * @param int $company
     */
    private static function ensure(int $company): void {
        global $DB;
        if ($DB->record_exists(self::TABLE, ['company_id' => $company])) {
            return;
        }
        try {
            $DB->insert_record(self::TABLE, (object)['company_id' => $company]);
        } catch (\dml_write_exception $error) {
            // Somebody else made it at the same moment.
            if (!$DB->record_exists(self::TABLE, ['company_id' => $company])) {
                throw $error;
            }
        }
    }

    /**
     * A company's row, locked until the end of the transaction.
     *
     * @param int $company
     */
    private static function lock(int $company): \stdClass {
        global $DB;
        return $DB->get_record_sql(
            'SELECT * FROM {' . self::TABLE . '} WHERE company_id = :company FOR UPDATE',
            ['company' => $company],
            MUST_EXIST
        );
    }

    /**
     * Whether a stored value is to be replaced.
     *
     * @param mixed $stored
     * @param mixed $wanted
     */
    private static function differs($stored, $wanted): bool {
        return self::is_unset($stored) !== self::is_unset($wanted) || (string)$stored !== (string)$wanted;
    }
}
