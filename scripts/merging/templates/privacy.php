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

namespace local_manireports\privacy;

/**
 * What both halves of this plugin know of a person: each answers for its own tables.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class provider implements
    \core_privacy\local\metadata\provider,
    \core_privacy\local\request\core_userlist_provider,
    \core_privacy\local\request\plugin\provider{{preferences_interface}} {
    /** @var string[] the providers of the halves */
    private const HALVES = [earlier_provider::class, cloud_provider::class];

    /**
     * The halves that answer to an interface.
     *
     * @param string $interface
     * @return string[] class names
     */
    private static function halves(string $interface): array {
        return array_filter(self::HALVES, static fn(string $half): bool => is_subclass_of($half, $interface));
    }

    /**
     * What is stored, and where it is sent.
     *
     * @param \core_privacy\local\metadata\collection $collection
     * @return \core_privacy\local\metadata\collection
     */
    public static function get_metadata(
        \core_privacy\local\metadata\collection $collection
    ): \core_privacy\local\metadata\collection {
        foreach (self::halves(\core_privacy\local\metadata\provider::class) as $half) {
            $collection = $half::get_metadata($collection);
        }
        return $collection;
    }

    /**
     * Where something of a person is stored.
     *
     * @param int $userid
     * @return \core_privacy\local\request\contextlist
     */
    public static function get_contexts_for_userid(int $userid): \core_privacy\local\request\contextlist {
        global $DB;
        $all = new \core_privacy\local\request\contextlist();
        foreach (self::halves(\core_privacy\local\request\plugin\provider::class) as $half) {
            $ids = $half::get_contexts_for_userid($userid)->get_contextids();
            if ($ids) {
                [$in, $params] = $DB->get_in_or_equal($ids, SQL_PARAMS_NAMED);
                $all->add_from_sql("SELECT id FROM {context} WHERE id $in", $params);
            }
        }
        return $all;
    }

    /**
     * Whose data is stored in a context.
     *
     * @param \core_privacy\local\request\userlist $userlist
     */
    public static function get_users_in_context(\core_privacy\local\request\userlist $userlist) {
        foreach (self::halves(\core_privacy\local\request\core_userlist_provider::class) as $half) {
            $half::get_users_in_context($userlist);
        }
    }

    /**
     * Writes what is stored of a person.
     *
     * @param \core_privacy\local\request\approved_contextlist $contextlist
     */
    public static function export_user_data(\core_privacy\local\request\approved_contextlist $contextlist) {
        foreach (self::halves(\core_privacy\local\request\plugin\provider::class) as $half) {
            $half::export_user_data($contextlist);
        }
    }

    /**
     * Deletes everybody's data in a context.
     *
     * @param \context $context
     */
    public static function delete_data_for_all_users_in_context(\context $context) {
        foreach (self::halves(\core_privacy\local\request\plugin\provider::class) as $half) {
            $half::delete_data_for_all_users_in_context($context);
        }
    }

    /**
     * Deletes what is stored of a person.
     *
     * @param \core_privacy\local\request\approved_contextlist $contextlist
     */
    public static function delete_data_for_user(\core_privacy\local\request\approved_contextlist $contextlist) {
        foreach (self::halves(\core_privacy\local\request\plugin\provider::class) as $half) {
            $half::delete_data_for_user($contextlist);
        }
    }

    /**
     * Deletes what is stored of several people.
     *
     * @param \core_privacy\local\request\approved_userlist $userlist
     */
    public static function delete_data_for_users(\core_privacy\local\request\approved_userlist $userlist) {
        foreach (self::halves(\core_privacy\local\request\core_userlist_provider::class) as $half) {
            $half::delete_data_for_users($userlist);
        }
    }
{{preferences_method}}}
