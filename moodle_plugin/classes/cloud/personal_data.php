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

use core\context\system;
use core_privacy\local\metadata\collection;
use core_privacy\local\request\transform;
use core_privacy\local\request\userlist;
use core_privacy\local\request\writer;

/**
 * Personal data in our tables: what there is, whose it is, to give it out and to forget it.
 *
 * A person is found by user id, and by address where a row has no user: in copies to bare addresses and in suppressions.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class personal_data {
    /** @var array table => fields with personal data */
    private const FIELDS = [
        'jobs' => ['created_by', 'error_log'],
        'recipients' => [
            'userid', 'email', 'recipient_data', 'secret', 'status', 'sent_at', 'error_message', 'message_id',
            'email_hash',
        ],
        'import_batches' => ['error_message'],
        'campaigns' => ['created_by', 'subject', 'body'],
        'outbox' => ['userid', 'email', 'course_id', 'data'],
        'suppressions' => ['email', 'reason', 'created_at'],
        'operations' => ['userid', 'count', 'first_at', 'last_at'],
        'requests' => ['created_by', 'params', 'answer'],
        'callbacks' => ['payload'],
    ];

    /** @var string[] places outside Moodle to which mails go */
    private const EXTERNAL = ['smtp', 'aws', 'cloudflare'];

    /** @var array tables in which a column names who did something: table => column */
    private const ACTORS = ['jobs' => 'created_by', 'campaigns' => 'created_by', 'operations' => 'userid'];

    /**
     * Says what is stored where, and what leaves Moodle.
     *
     * @param collection $collection
     */
    public static function describe(collection $collection): collection {
        foreach (self::FIELDS as $table => $fields) {
            $strings = array_map(fn(string $field): string => "privacy:metadata:cloud_$table:$field", $fields);
            $name = "manireports_cloud_$table";
            $collection->add_database_table($name, array_combine($fields, $strings), "privacy:metadata:cloud_$table");
        }
        $fields = ['email', 'name', 'body'];
        $strings = array_map(fn(string $field): string => "privacy:metadata:cloud_external:$field", $fields);
        foreach (self::EXTERNAL as $place) {
            $collection->add_external_location_link($place, array_combine($fields, $strings), "privacy:metadata:cloud_$place");
        }
        $collection->add_subsystem_link('core_message', [], 'privacy:metadata:core_message');
        return $collection;
    }

    /**
     * Whether anything is stored of a user.
     *
     * @param int $userid
     */
    public static function exists(int $userid): bool {
        global $DB;
        foreach (self::ACTORS as $table => $column) {
            if ($DB->record_exists("manireports_cloud_$table", [$column => $userid])) {
                return true;
            }
        }
        if ($DB->record_exists('manireports_cloud_requests', ['created_by' => "user:$userid"])) {
            return true;
        }
        $person = new person($userid);
        foreach (['recipients', 'outbox', 'suppressions'] as $table) {
            [$where, $params] = $person->rows_of($table);
            if ($DB->record_exists_select("manireports_cloud_$table", $where, $params)) {
                return true;
            }
        }
        return false;
    }

    /**
     * Adds everybody of whom something is stored.
     *
     * @param userlist $userlist
     */
    public static function add_users(userlist $userlist): void {
        global $DB;
        foreach (self::ACTORS + ['recipients' => 'userid', 'outbox' => 'userid'] as $table => $column) {
            $userlist->add_from_sql('userid', "SELECT $column AS userid FROM {manireports_cloud_$table} WHERE $column > 0", []);
        }
        $asked = $DB->get_fieldset_sql("SELECT DISTINCT created_by FROM {manireports_cloud_requests}");
        $ids = array_map(fn(string $by): int => (int)substr($by, 5), preg_grep('/^user:[1-9]\d*$/', $asked));
        if ($ids) {
            $userlist->add_users($ids);
        }
        foreach (['recipients' => 'r.userid = 0', 'suppressions' => '1 = 1'] as $table => $where) {
            $userlist->add_from_sql(
                'id',
                "SELECT u.id
                   FROM {user} u
                   JOIN {manireports_cloud_$table} r ON LOWER(r.email) = LOWER(u.email)
                  WHERE u.deleted = 0 AND u.email <> '' AND $where",
                []
            );
        }
    }

    /**
     * Gives out what is stored of a user.
     *
     * @param int $userid
     */
    public static function export(int $userid): void {
        global $DB;
        $person = new person($userid);
        $what = [
            'recipients' => ['cloudjobs', 'id, job_id, email, recipient_data, role, status, sent_at, error_message, message_id'],
            'outbox' => ['cloudcampaign', 'id, campaign_id, course_id, email, data, status, created_at'],
            'suppressions' => ['cloudsuppressions', 'id, email, reason, created_at'],
        ];
        foreach ($what as $table => [$title, $fields]) {
            [$where, $params] = $person->rows_of($table);
            $rows = $DB->get_records_select("manireports_cloud_$table", $where, $params, 'id', $fields);
            self::write($title, $table, array_map([self::class, 'readable'], $rows));
        }
        $mine = ['created_by' => $userid];
        $jobs = $DB->get_records('manireports_cloud_jobs', $mine, 'id', 'id, type, label, email_count, created_at, error_log');
        self::write('cloudjobs', 'jobs', array_map([self::class, 'readable'], $jobs));
        $campaigns = $DB->get_records('manireports_cloud_campaigns', $mine, 'id', 'id, type, subject, body, created_at');
        self::write('cloudcampaign', 'campaigns', array_map([self::class, 'readable'], $campaigns));
        $fields = 'id, type, count, first_at, last_at';
        $operations = $DB->get_records('manireports_cloud_operations', ['userid' => $userid], 'id', $fields);
        self::write('cloudjobs', 'operations', array_map([self::class, 'readable'], $operations));
        $fields = 'id, action, params, answer, created_at';
        $requests = $DB->get_records('manireports_cloud_requests', ['created_by' => "user:$userid"], 'id', $fields);
        self::write('cloudjobs', 'requests', array_map([self::class, 'readable'], $requests));
    }

    /**
     * Writes one list, unless it is empty.
     *
     * @param string $title string key of the page that shows it
     * @param string $name
     * @param array $rows
     */
    private static function write(string $title, string $name, array $rows): void {
        if ($rows) {
            $path = [get_string('pluginname', 'local_manireports'), get_string($title, 'local_manireports'), $name];
            writer::with_context(system::instance())->export_data($path, (object)[$name => array_values($rows)]);
        }
    }

    /**
     * A row as a person can read it.
     *
     * @param \stdClass $row
     */
    private static function readable(\stdClass $row): \stdClass {
        foreach (['sent_at', 'created_at', 'first_at', 'last_at'] as $time) {
            if (!empty($row->$time)) {
                $row->$time = transform::datetime((int)$row->$time);
            }
        }
        foreach (['recipient_data', 'data', 'params', 'answer'] as $json) {
            if (isset($row->$json)) {
                $row->$json = json_decode($row->$json) ?? $row->$json;
            }
        }
        return $row;
    }

    /**
     * Forgets a user. Rows stay, without the person, because the books must balance; of a suppression a hash stays.
     *
     * @param int $userid
     */
    public static function forget(int $userid): void {
        global $DB;
        $person = new person($userid);
        (new forgetting($person->addresses()))->recipients(...$person->rows_of('recipients'));
        [$where, $params] = $person->rows_of('outbox');
        forgetting::outbox($where, $params);
        [$where, $params] = $person->rows_of('suppressions');
        forgetting::suppressions($where, $params);
        (new forgetting($person->addresses()))->texts();
        foreach (self::ACTORS as $table => $column) {
            $DB->set_field("manireports_cloud_$table", $column, 0, [$column => $userid]);
        }
        forgetting::requests('created_by = :by', ['by' => "user:$userid"]);
    }

    /**
     * Forgets everybody.
     */
    public static function forget_everybody(): void {
        global $DB;
        (new forgetting([]))->recipients('1 = 1', []);
        forgetting::outbox('1 = 1', []);
        forgetting::suppressions("email NOT LIKE 'sha256:%'", []);
        foreach (self::ACTORS as $table => $column) {
            $DB->set_field_select("manireports_cloud_$table", $column, 0, "$column <> 0");
        }
        forgetting::requests('1 = 1', []);
        $DB->set_field_select('manireports_cloud_jobs', 'error_log', null, 'error_log IS NOT NULL');
        $DB->set_field_select('manireports_cloud_import_batches', 'error_message', null, 'error_message IS NOT NULL');
        $DB->set_field_select('manireports_cloud_callbacks', 'payload', null, 'processed_at IS NOT NULL');
    }
}
