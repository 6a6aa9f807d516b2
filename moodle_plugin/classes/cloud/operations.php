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
 * The notes of bulk operations that the sidecar reads: rows of manireports_cloud_operations.
 *
 * One row for each operation of a request (type, company, acting user): written when it begins, at most once a second
 * while it runs, and when the request ends. A row of a request that crashed stays unfinished; the sidecar takes it for
 * finished when nothing was added for a while.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class operations {
    /** @var string table name */
    private const TABLE = 'manireports_cloud_operations';

    /** @var int nanoseconds between two writes of a running operation */
    private const WRITE_EVERY = 1000000000;

    /** @var \stdClass[] the running ones of this request; written: when its row was, as hrtime gives it */
    private static array $running = [];

    /** @var bool whether the end of the request will be heard of */
    private static bool $listening = false;

    /**
     * Whether an operation runs in this request.
     *
     * @param string $type job type
     * @param int $companyid 0 for none
     * @param int $userid who does it
     */
    public static function knows(string $type, int $companyid, int $userid): bool {
        return isset(self::$running["$type/$companyid/$userid"]);
    }

    /**
     * One more mail of an operation, which begins with the first.
     *
     * @param string $type job type
     * @param int $companyid 0 for none
     * @param int $userid who does it, 0 for cron
     * @return \stdClass id, type, company_id, userid, count, first_at, last_at
     */
    public static function note(string $type, int $companyid, int $userid): \stdClass {
        $key = "$type/$companyid/$userid";
        if (!isset(self::$running[$key])) {
            self::listen();
            self::$running[$key] = self::begin($type, $companyid, $userid, 1, false);
            return self::$running[$key];
        }
        $operation = self::$running[$key];
        $operation->count++;
        $operation->last_at = time();
        if (hrtime(true) - $operation->written >= self::WRITE_EVERY) {
            self::write($operation, false);
        }
        return $operation;
    }

    /**
     * An operation that is over when it is heard of.
     *
     * @param string $type job type
     * @param int $companyid 0 for none
     * @param int $userid who did it, 0 for cron
     * @param int $count mails that it queued
     */
    public static function note_whole(string $type, int $companyid, int $userid, int $count): void {
        self::begin($type, $companyid, $userid, $count, true);
    }

    /**
     * The request ends, and every operation of it.
     */
    public static function finish(): void {
        $ended = self::$running;
        self::$running = [];
        foreach ($ended as $operation) {
            self::write($operation, true);
        }
    }

    /**
     * Finish when the request ends, however it does.
     */
    private static function listen(): void {
        if (!self::$listening) {
            self::$listening = true;
            \core_shutdown_manager::register_function([self::class, 'finish']);
        }
    }

    /**
     * Writes a new row.
     *
     * @param string $type job type
     * @param int $companyid 0 for none
     * @param int $userid who does it
     * @param int $count mails so far
     * @param bool $finished whether no more will come
     */
    private static function begin(string $type, int $companyid, int $userid, int $count, bool $finished): \stdClass {
        global $DB;
        $now = time();
        $row = (object)[
            'type' => \core_text::substr($type, 0, 50),
            'company_id' => $companyid,
            'userid' => $userid,
            'count' => $count,
            'first_at' => $now,
            'last_at' => $now,
            'finished' => (int)$finished,
        ];
        $row->id = (int)$DB->insert_record(self::TABLE, $row);
        $row->written = hrtime(true);
        return $row;
    }

    /**
     * Writes down how far an operation is.
     *
     * @param \stdClass $operation
     * @param bool $finished whether no more will come
     */
    private static function write(\stdClass $operation, bool $finished): void {
        global $DB;
        $DB->update_record(self::TABLE, (object)[
            'id' => $operation->id,
            'count' => $operation->count,
            'last_at' => $operation->last_at,
            'finished' => (int)$finished,
        ]);
        $operation->written = hrtime(true);
    }
}
