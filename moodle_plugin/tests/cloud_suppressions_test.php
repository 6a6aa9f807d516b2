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

use local_manireports\cloud\suppressions;
use local_manireports\cloud\suppressions_filter;

defined('MOODLE_INTERNAL') || die();

require_once(__DIR__ . '/cloud_companies.php');

/**
 * Addresses that get no bulk mail.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 * @covers    \local_manireports\cloud\suppressions
 * @covers    \local_manireports\cloud\suppressions_filter
 */
final class cloud_suppressions_test extends \advanced_testcase {
    use cloud_companies;

    protected function setUp(): void {
        parent::setUp();
        $this->resetAfterTest();
        $this->setAdminUser();
    }

    /**
     * Addresses as the sidecar stores them.
     */
    public function test_to_ascii(): void {
        $this->assertSame('anna@example.org', suppressions::to_ascii(' <Anna@Example.ORG> '));
        $this->assertSame('kurt@xn--bcher-kva.example', suppressions::to_ascii('kurt@bücher.example'));
        $bads = ['', 'x', '@x.example', 'björn@x.example', 'a@b', "a@b.example\0\nc", str_repeat('a', 65) . '@x.example'];
        foreach ($bads as $bad) {
            $this->assertSame('', suppressions::to_ascii($bad), $bad);
        }
        $this->assertSame(['a@x.y', 'b@x.y'], suppressions::split("a@x.y,\r\n b@x.y;a@x.y\n\n"));
    }

    /**
     * Added once, found, removed, and told to the log without an address.
     */
    public function test_add_and_remove(): void {
        global $DB;
        $sink = $this->redirectEvents();
        $done = suppressions::add(['Anna@x.example', 'anna@X.example', 'nonsense', 'b@x.example'], 0, 'all');
        $this->assertEquals([2, 0, ['nonsense']], [$done->added, $done->known, $done->wrong]);
        $again = suppressions::add(['anna@x.example'], 0, 'all');
        $this->assertEquals([0, 1], [$again->added, $again->known]);
        $this->assertSame(1, suppressions::add(['anna@x.example'], 0, 'campaigns')->added);
        $this->assertSame(2, suppressions::count(new suppressions_filter('ANNA@x')));
        $this->assertSame(3, suppressions::count(new suppressions_filter()));
        $this->assertSame(0, suppressions::count(new suppressions_filter('', 5)));
        $this->assertSame(0, suppressions::count(new suppressions_filter('', -1, 'bounce')));
        $this->assertSame(0, suppressions::count(new suppressions_filter('%')));
        $ids = array_keys(suppressions::page(new suppressions_filter('anna'), 0, 50));
        $this->assertSame(2, suppressions::remove([...$ids, 99999]));
        $this->assertSame(0, suppressions::remove($ids));
        $this->assertSame(1, $DB->count_records('manireports_cloud_suppressions'));
        $events = $sink->get_events();
        $this->assertCount(3, $events);
        $this->assertStringNotContainsString('@x', json_encode(array_map(fn($event) => $event->get_data(), $events)));
    }

    /**
     * Many at once, and the second time none.
     */
    public function test_many(): void {
        $many = array_map(fn($number) => "u$number@x.example", range(1, 1200));
        $this->assertSame(1200, suppressions::add($many, 0, 'all')->added);
        $this->assertSame(1200, suppressions::add($many, 0, 'all')->known);
        $this->assertCount(50, suppressions::page(new suppressions_filter(), 3, 50));
    }

    /**
     * Whoever was deleted is known by the hash, and found by the whole address only.
     */
    public function test_hashed(): void {
        global $DB;
        $DB->insert_record('manireports_cloud_suppressions', (object)[
            'email' => suppressions::HASHED . hash('sha256', 'gone@x.example'), 'company_id' => 0, 'scope' => 'all',
            'reason' => 'bounce', 'created_at' => 1,
        ]);
        $this->assertSame(1, suppressions::add(['Gone@x.example'], 0, 'all')->known);
        $this->assertSame(1, suppressions::count(new suppressions_filter('gone@x.example')));
        $this->assertSame(0, suppressions::count(new suppressions_filter('gone')));
    }

    /**
     * A manager sees the own company's entries, and those of the whole site for its users; changes only the former.
     */
    public function test_isolation(): void {
        $acme = $this->company('acme');
        $globex = $this->company('globex');
        $member = $this->getDataGenerator()->create_user(['email' => 'Member@x.example']);
        $this->join($acme->id, $member->id);
        suppressions::add(['member@x.example', 'stranger@x.example'], 0, 'all');
        suppressions::add(['theirs@x.example'], $globex->id, 'all');
        suppressions::add(['ours@x.example'], $acme->id, 'all');
        $all = array_keys(suppressions::page(new suppressions_filter(), 0, 50));
        $this->setUser($acme->manager);
        $seen = array_column(suppressions::page(new suppressions_filter(), 0, 50), 'email');
        sort($seen);
        $this->assertSame(['member@x.example', 'ours@x.example'], $seen);
        $this->assertSame(0, suppressions::count(new suppressions_filter('stranger')));
        $this->assertSame(0, suppressions::count(new suppressions_filter('', $globex->id)));
        $this->assertSame(1, suppressions::remove($all));
        foreach ([0, $globex->id] as $company) {
            try {
                suppressions::add(['x@x.example'], $company, 'all');
                $this->fail("company $company");
            } catch (\required_capability_exception $error) {
                $this->assertSame('nopermissions', $error->errorcode);
            }
        }
    }
}
