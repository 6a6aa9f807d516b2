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
 * Puts core's mail texts of every installed language where the sidecar reads them (sidecar/store/templates.py).
 *
 * Only the rows of these names are ours: what else is in manireports_cloud_templates belongs to the admin.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class templates {
    /** @var string table name */
    private const TABLE = 'manireports_cloud_templates';

    /** @var string the mail with a new user's password: core's newusernewpasswordsubj and newusernewpasswordtext */
    private const NEW_USER = 'newusernewpassword';

    /** @var string the language that another derives from, as subject */
    private const PARENT = 'parentlanguage';

    /**
     * Makes the table say what the language packs say now.
     *
     * @return int how many rows were changed
     */
    public static function refresh(): int {
        global $DB;
        $wanted = self::wanted();
        $changed = 0;
        $rows = $DB->get_records_list(self::TABLE, 'name', [self::NEW_USER, self::PARENT], 'id DESC');
        foreach ($rows as $row) {
            $key = "$row->name/$row->lang";
            $text = $wanted[$key] ?? null;
            unset($wanted[$key]);
            if ($text === null) {
                // The language is gone, or this is an older copy of a row that was looked at already.
                $DB->delete_records(self::TABLE, ['id' => $row->id]);
                $changed++;
            } else if ($text->subject !== $row->subject || $text->body !== (string)$row->body) {
                $text->id = $row->id;
                $DB->update_record(self::TABLE, $text);
                $changed++;
            }
        }
        foreach ($wanted as $text) {
            $DB->insert_record(self::TABLE, $text);
            $changed++;
        }
        return $changed;
    }

    /**
     * Observer of tool_langimport: a language pack came, changed or went.
     *
     * @param \core\event\base $event
     */
    public static function language_packs_changed(\core\event\base $event): void {
        try {
            get_string_manager()->reset_caches();
            self::refresh();
        } catch (\Throwable $e) {
            // The scheduled task does it again; a language pack must not fail for it.
            debugging('local_manireports: ' . $e->getMessage(), DEBUG_DEVELOPER);
        }
    }

    /**
     * The rows that there should be, by name/language.
     *
     * Placeholders stay as they are in the pack. What a pack lacks is what Moodle would say: its parent's text, or English.
     *
     * @return \stdClass[]
     */
    private static function wanted(): array {
        $strings = get_string_manager();
        $wanted = [];
        foreach (array_keys($strings->get_list_of_translations(true)) as $lang) {
            $subject = $strings->get_string('newusernewpasswordsubj', 'moodle', null, $lang);
            $body = $strings->get_string('newusernewpasswordtext', 'moodle', null, $lang);
            $wanted[self::NEW_USER . "/$lang"] = self::row(self::NEW_USER, $lang, $subject, $body);
            $parent = get_parent_language($lang);
            if ($parent !== '') {
                $wanted[self::PARENT . "/$lang"] = self::row(self::PARENT, $lang, $parent, '');
            }
        }
        return $wanted;
    }

    /**
     * A row without id.
     *
     * @param string $name
     * @param string $lang
     * @param string $subject
     * @param string $body
     */
    private static function row(string $name, string $lang, string $subject, string $body): \stdClass {
        $subject = \core_text::substr($subject, 0, 255);
        return (object)['name' => $name, 'lang' => $lang, 'subject' => $subject, 'body' => $body];
    }
}
