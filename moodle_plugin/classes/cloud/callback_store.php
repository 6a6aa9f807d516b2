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

use core\encryption;

/**
 * The callback page's side of the database: which secrets are valid, and the inbox of reports.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class callback_store {
    /** @var string table name */
    private const INBOX = 'manireports_cloud_callbacks';

    /** @var string table name */
    private const COMPANIES = 'manireports_cloud_company_settings';

    /**
     * Whether the site takes reports now: it is neither in maintenance nor being upgraded.
     */
    public function ready(): bool {
        global $CFG;
        return empty($CFG->maintenance_enabled) && (int)($CFG->upgraderunning ?? 0) < time();
    }

    /**
     * The secrets that a key stands for now: one, or none if the key is unknown or not valid any more.
     *
     * @param string $key
     * @param int $now Unix seconds
     * @return string[] in clear
     * @throws \Throwable if a stored secret cannot be decrypted, or the database does not answer
     */
    public function secrets(string $key, int $now): array {
        global $DB;
        $rows = $DB->get_records_select(
            self::COMPANIES,
            'callback_key = :key OR callback_key_old = :old',
            ['key' => $key, 'old' => $key],
            'id',
            'id, callback_key, callback_secret, callback_key_old, callback_secret_old, callback_old_until'
        );
        $secrets = [];
        foreach ($rows as $row) {
            // A database may find keys that differ in case: the names are compared here, to the byte.
            if (hash_equals((string)$row->callback_key, $key)) {
                $secrets[] = self::decrypt($row->callback_secret);
            }
            if ((int)$row->callback_old_until > $now && hash_equals((string)$row->callback_key_old, $key)) {
                $secrets[] = self::decrypt($row->callback_secret_old);
            }
        }
        return array_values(array_filter($secrets, fn(string $secret): bool => $secret !== ''));
    }

    /**
     * Puts a report into the inbox.
     *
     * @param \stdClass $report the columns of the inbox
     * @return bool false if a report of that delivery is there already
     * @throws \Throwable if it could not be stored
     */
    public function keep(\stdClass $report): bool {
        global $DB;
        $same = ['delivery_id' => $report->delivery_id];
        if ($DB->record_exists(self::INBOX, $same)) {
            return false;
        }
        try {
            $DB->insert_record(self::INBOX, $report, false);
        } catch (\dml_write_exception $refused) {
            // Another process has stored it between our look and our write.
            if (!$DB->record_exists(self::INBOX, $same)) {
                throw $refused;
            }
            return false;
        }
        return true;
    }

    /**
     * The clear text of a stored secret.
     *
     * @param string|null $stored
     */
    private static function decrypt(?string $stored): string {
        return $stored === null || $stored === '' ? '' : encryption::decrypt($stored);
    }
}
