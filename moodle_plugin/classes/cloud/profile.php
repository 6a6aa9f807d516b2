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

use core_user\output\myprofile\category;
use core_user\output\myprofile\node;
use core_user\output\myprofile\tree;

/**
 * The link on a user's profile to every mail of theirs.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
class profile {
    /**
     * Add the link, for those who may see the user's mails.
     *
     * @param tree $tree the profile
     * @param \stdClass $user whose profile it is
     */
    public static function add_link(tree $tree, \stdClass $user): void {
        if (isguestuser($user) || access::companies(access::VIEW) === [] || !recipients::user((int)$user->id)) {
            return;
        }
        if (!isset($tree->categories['reports'])) {
            $tree->add_category(new category('reports', get_string('reports')));
        }
        $tree->add_node(new node(
            'reports',
            'local_manireports_cloud',
            get_string('cloudprofilelink', 'local_manireports'),
            null,
            new \moodle_url('/local/manireports/ui/cloud_search.php', ['userid' => $user->id])
        ));
    }
}
