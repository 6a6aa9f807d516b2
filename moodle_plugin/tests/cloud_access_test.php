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

use core\context\system;
use local_manireports\cloud\access;
use local_manireports\cloud\upgrade\capabilities;

/**
 * Who sees which company.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
#[\PHPUnit\Framework\Attributes\CoversClass(access::class)]
final class cloud_access_test extends \advanced_testcase {
    /** @var string[] our capabilities */
    private const ALL = [access::VIEW, access::MANAGE, access::CONFIGURE, access::CAMPAIGN];

    #[\Override]
    protected function setUp(): void {
        parent::setUp();
        $this->resetAfterTest();
    }

    /**
     * A company of IOMAD with a manager, who is returned.
     *
     * @param string $name
     * @return array [company id, manager]
     */
    private function company(string $name): array {
        global $DB;
        $company = $DB->insert_record('company', (object)['name' => $name, 'shortname' => $name, 'code' => $name,
            'city' => 'c', 'country' => 'GB', 'category' => 0]);
        $context = \core\context\company::instance($company);
        $user = $this->getDataGenerator()->create_user();
        $DB->insert_record('company_users', (object)['companyid' => $company, 'userid' => $user->id, 'managertype' => 1,
            'departmentid' => 0, 'suspended' => 0]);
        $role = $DB->get_field('role', 'id', ['shortname' => 'companymanager'], MUST_EXIST);
        role_assign($role, $user->id, $context->id);
        return [(int)$company, $user];
    }

    /**
     * Site admins see all; others nothing.
     */
    public function test_everybody_else(): void {
        $this->setAdminUser();
        $this->assertNull(access::companies(access::VIEW));
        foreach ([$this->getDataGenerator()->create_user(), guest_user()] as $user) {
            $this->setUser($user);
            foreach (self::ALL as $capability) {
                $this->assertSame([], access::companies($capability));
                $this->assertFalse(access::can($capability, 0));
                $this->assertSame('1 = 0', access::sql($capability, 'company_id')[0]);
            }
        }
        $this->expectException(\required_capability_exception::class);
        access::require(access::VIEW, 0);
    }

    /**
     * A company manager has the own company and nothing else.
     */
    public function test_company_manager(): void {
        global $DB;
        if (!access::is_iomad()) {
            $this->markTestSkipped('This is no IOMAD.');
        }
        [$acme, $boss] = $this->company('acme');
        [$globex] = $this->company('globex');
        foreach ([$acme, $globex, 0] as $company) {
            $this->getDataGenerator()->get_plugin_generator('local_manireports')->create_job(['company_id' => $company]);
        }
        $this->setUser($boss);
        foreach (self::ALL as $capability) {
            $this->assertSame([$acme], access::companies($capability));
            $this->assertTrue(access::can($capability, $acme));
            $this->assertFalse(access::can($capability, $globex));
            $this->assertFalse(access::can($capability, 0));
            [$where, $params] = access::sql($capability, 'company_id');
            $jobs = $DB->get_records_select('manireports_cloud_jobs', $where, $params);
            $this->assertEquals([$acme], array_column($jobs, 'company_id'));
        }
        $DB->set_field('company_users', 'suspended', 1, ['userid' => $boss->id]);
        $this->assertSame([], access::companies(access::VIEW));
    }

    /**
     * A manager of a Moodle without IOMAD has the site.
     */
    public function test_manager_of_a_site(): void {
        if (access::is_iomad()) {
            $this->markTestSkipped('This is IOMAD.');
        }
        global $DB;
        $user = $this->getDataGenerator()->create_user();
        role_assign($DB->get_field('role', 'id', ['shortname' => 'manager']), $user->id, system::instance());
        $this->setUser($user);
        $this->assertNull(access::companies(access::MANAGE));
    }

    /**
     * Where the level of capabilities is not that of the site any more, it is put right, and roles get what is theirs, once.
     */
    public function test_relevel(): void {
        global $DB;
        $iomad = access::is_iomad();
        $right = $iomad ? CONTEXT_COMPANY : CONTEXT_SYSTEM;
        $role = $DB->get_field('role', 'id', ['shortname' => $iomad ? 'companymanager' : 'manager'], MUST_EXIST);
        $given = ['capability' => access::VIEW, 'roleid' => $role];
        $DB->set_field('capabilities', 'contextlevel', CONTEXT_COURSE, ['name' => access::VIEW]);
        $DB->delete_records('role_capabilities', $given);

        capabilities::relevel();

        $this->assertEquals($right, $DB->get_field('capabilities', 'contextlevel', ['name' => access::VIEW]));
        $this->assertTrue($DB->record_exists('role_capabilities', $given));
        // What an admin takes away stays away.
        $DB->delete_records('role_capabilities', $given);
        capabilities::relevel();
        $this->assertFalse($DB->record_exists('role_capabilities', $given));
    }
}
