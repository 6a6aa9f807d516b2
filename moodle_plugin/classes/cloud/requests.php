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
 * What pages ask of the sidecar, and its answers: rows of manireports_cloud_requests.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class requests {
    /** @var string table name */
    private const TABLE = 'manireports_cloud_requests';

    /**
     * Leave a request for the sidecar that leads this site.
     *
     * @param string $action such as retry, cancel, release, resolve, pause, resume, test_connection, test_mail
     * @param array $params what the action needs; no clear secrets
     * @return int id of the request
     */
    public static function ask(string $action, array $params): int {
        global $DB, $USER;
        return $DB->insert_record(self::TABLE, (object)[
            'action' => $action,
            'params' => json_encode((object)$params, JSON_THROW_ON_ERROR),
            'status' => 'new',
            'created_by' => 'user:' . $USER->id,
            'created_at' => time(),
        ]);
    }

    /**
     * A request of the current user with its answer so far.
     *
     * @param int $id
     * @return \stdClass|null id, action, status (new, done or failed), params and answer (objects); null if it is not theirs
     */
    public static function read(int $id): ?\stdClass {
        global $DB, $USER;
        $row = $DB->get_record(self::TABLE, ['id' => $id, 'created_by' => 'user:' . $USER->id]);
        if (!$row) {
            return null;
        }
        return (object)[
            'id' => (int)$row->id,
            'action' => $row->action,
            'status' => $row->status,
            'params' => json_decode($row->params ?: '{}') ?? new \stdClass(),
            'answer' => json_decode($row->answer ?: '{}') ?? new \stdClass(),
        ];
    }
}
