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

use core\context;
use core\context\system;
use core_privacy\local\metadata\collection;
use core_privacy\local\request\approved_contextlist;
use core_privacy\local\request\approved_userlist;
use core_privacy\local\request\contextlist;
use core_privacy\local\request\userlist;
use local_manireports\cloud\personal_data;

/**
 * What we know of people. All of it belongs to the site; the work is done by personal_data.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class provider implements
    \core_privacy\local\metadata\provider,
    \core_privacy\local\request\core_userlist_provider,
    \core_privacy\local\request\plugin\provider {
    #[\Override]
    public static function get_metadata(collection $collection): collection {
        return personal_data::describe($collection);
    }

    #[\Override]
    public static function get_contexts_for_userid(int $userid): contextlist {
        $contextlist = new contextlist();
        if (personal_data::exists($userid)) {
            $contextlist->add_system_context();
        }
        return $contextlist;
    }

    #[\Override]
    public static function get_users_in_context(userlist $userlist) {
        if ($userlist->get_context() instanceof system) {
            personal_data::add_users($userlist);
        }
    }

    #[\Override]
    public static function export_user_data(approved_contextlist $contextlist) {
        if (in_array(system::instance()->id, $contextlist->get_contextids())) {
            personal_data::export((int)$contextlist->get_user()->id);
        }
    }

    #[\Override]
    public static function delete_data_for_all_users_in_context(context $context) {
        if ($context instanceof system) {
            personal_data::forget_everybody();
        }
    }

    #[\Override]
    public static function delete_data_for_user(approved_contextlist $contextlist) {
        if (in_array(system::instance()->id, $contextlist->get_contextids())) {
            personal_data::forget((int)$contextlist->get_user()->id);
        }
    }

    #[\Override]
    public static function delete_data_for_users(approved_userlist $userlist) {
        if ($userlist->get_context() instanceof system) {
            foreach ($userlist->get_userids() as $userid) {
                personal_data::forget((int)$userid);
            }
        }
    }
}
