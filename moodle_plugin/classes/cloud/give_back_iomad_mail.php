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
 * Rows of IOMAD's mail queue, {email}: unsent again, with the time that they had before, while `sent` is still our mark.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class give_back_iomad_mail extends give_back_source {
    #[\Override]
    public function return(array $rows): array {
        global $DB;
        if (!$DB->get_manager()->table_exists('email')) {
            return []; // IOMAD was removed, and its queue with it.
        }
        $back = [];
        [$in, $params] = $DB->get_in_or_equal(array_keys($rows), SQL_PARAMS_NAMED);
        $there = $DB->get_records_sql("SELECT id, sent FROM {email} WHERE id $in FOR UPDATE", $params);
        foreach ($there as $mail) {
            $row = $rows[$mail->id];
            if ((int)$mail->sent === (int)$row->created_at) {
                $DB->update_record('email', ['id' => $mail->id, 'sent' => null, 'modifiedtime' => $row->source_stamp]);
                $back[] = (int)$mail->id;
            }
        }
        return $back;
    }
}
