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

use local_manireports\cloud\templates;

/**
 * Mail texts of the language packs.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
#[\PHPUnit\Framework\Attributes\CoversClass(templates::class)]
final class cloud_templates_test extends \advanced_testcase {
    /**
     * The texts are there from the beginning, follow the packs, and leave the admin's own rows alone.
     */
    public function test_refresh(): void {
        global $DB;
        $this->resetAfterTest();
        $mine = ['name' => 'newusernewpassword', 'lang' => 'en'];
        $row = $DB->get_record('manireports_cloud_templates', $mine, '*', MUST_EXIST);
        $this->assertStringContainsString('{$a->newpassword}', $row->body);
        $this->assertSame(0, templates::refresh());

        $own = (object)['name' => 'reengagement', 'lang' => 'xx', 'subject' => 's', 'body' => 'b'];
        $DB->insert_record('manireports_cloud_templates', $own);
        $DB->set_field('manireports_cloud_templates', 'body', 'old', $mine);
        $DB->insert_record('manireports_cloud_templates', (object)(['subject' => 'a second one'] + $mine));
        $gone = (object)['name' => 'newusernewpassword', 'lang' => 'zz', 'subject' => 's', 'body' => 'b'];
        $DB->insert_record('manireports_cloud_templates', $gone);

        templates::refresh();

        $this->assertSame($row->body, $DB->get_field('manireports_cloud_templates', 'body', $mine, MUST_EXIST));
        $this->assertFalse($DB->record_exists('manireports_cloud_templates', ['lang' => 'zz']));
        $this->assertTrue($DB->record_exists('manireports_cloud_templates', ['lang' => 'xx']));
        $this->assertSame(0, templates::refresh());
    }
}
