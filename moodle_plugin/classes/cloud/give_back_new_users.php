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
 * New users wait for a password again (`create_password`), if the one that they have is still that which we gave them.
 *
 * Moodle's task makes another. Their mails follow to the new preference, and so stay known.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class give_back_new_users extends give_back_source {
    #[\Override]
    public function return(array $rows): array {
        global $DB;
        [$in, $params] = $DB->get_in_or_equal(array_column($rows, 'userid'), SQL_PARAMS_NAMED);
        $users = $DB->get_records_sql("SELECT id, password FROM {user} WHERE id $in AND deleted = 0 FOR UPDATE", $params);
        $back = [];
        foreach ($rows as $row) {
            $user = $users[$row->userid] ?? null;
            $mark = json_decode((string)$row->recipient_data)->password_mark ?? '';
            if (!$user || !is_string($mark) || !hash_equals(hash('sha256', $user->password), $mark)) {
                continue;
            }
            set_user_preference('create_password', 1, $user->id);
            $waits = ['userid' => $user->id, 'name' => 'create_password'];
            $preference = (int)$DB->get_field('user_preferences', 'id', $waits, MUST_EXIST);
            $DB->set_field(
                'manireports_cloud_recipients',
                'source_id',
                $preference,
                ['source' => 'new_users', 'source_id' => $row->source_id]
            );
            $back[] = $preference;
        }
        return $back;
    }
}
