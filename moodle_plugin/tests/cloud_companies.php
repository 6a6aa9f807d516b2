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

namespace local_manireports;

/**
 * Companies of IOMAD with their managers, members and courses, for tests.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
trait cloud_companies {
    /**
     * A company with a manager; skips the test where there are no companies.
     *
     * @param string $name
     * @return \stdClass id, manager
     */
    private function company(string $name): \stdClass {
        global $DB;
        if (!cloud\access::is_iomad()) {
            $this->markTestSkipped('This site has no companies.');
        }
        $id = $DB->insert_record('company', (object)[
            'name' => $name, 'shortname' => $name, 'code' => $name, 'city' => 'c', 'country' => 'GB', 'category' => 0,
        ]);
        $context = \core\context\company::instance($id);
        $manager = $this->getDataGenerator()->create_user();
        $this->join($id, $manager->id, 1);
        role_assign($DB->get_field('role', 'id', ['shortname' => 'companymanager'], MUST_EXIST), $manager->id, $context->id);
        return (object)['id' => (int)$id, 'manager' => $manager];
    }

    /**
     * Make somebody a member of a company.
     *
     * @param int $company
     * @param int $user
     * @param int $managertype 1: manager
     */
    private function join(int $company, int $user, int $managertype = 0): void {
        global $DB;
        $DB->insert_record('company_users', (object)[
            'companyid' => $company, 'userid' => $user, 'managertype' => $managertype, 'departmentid' => 0, 'suspended' => 0,
        ]);
    }

    /**
     * A student who came into a course long ago, and has not been there since.
     *
     * @param \stdClass $course
     * @param int $days since the enrolment
     * @param array $user columns that differ from the usual
     * @return \stdClass the user
     */
    private function student(\stdClass $course, int $days = 100, array $user = []): \stdClass {
        global $DB;
        $made = $this->getDataGenerator()->create_user($user);
        $begin = time() - $days * DAYSECS;
        // IOMAD's observers do not know what to do with users outside companies.
        $sink = $this->redirectEvents();
        $this->getDataGenerator()->enrol_user($made->id, $course->id, 'student', 'manual', $begin);
        $DB->set_field('user_enrolments', 'timecreated', $begin, ['userid' => $made->id]);
        $sink->close();
        return $made;
    }
}
