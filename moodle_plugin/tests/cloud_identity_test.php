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

use local_manireports\cloud\identity;

/**
 * Who this site is.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
#[\PHPUnit\Framework\Attributes\CoversClass(identity::class)]
final class cloud_identity_test extends \advanced_testcase {
    /**
     * The installation has made it, and it stays.
     */
    public function test_ensure(): void {
        global $DB;
        $this->resetAfterTest();
        $row = $DB->get_record('manireports_cloud_sidecar', [], '*', MUST_EXIST);
        $this->assertMatchesRegularExpression('/^[0-9a-f]{32}$/', $row->site_uid);
        $this->assertSame('', $row->lease_token);
        $this->assertSame(['schema' => identity::SCHEMA_VERSION], json_decode($row->state, true));
        identity::ensure();
        $this->assertSame($row->site_uid, $DB->get_field('manireports_cloud_sidecar', 'site_uid', []));
    }

    /**
     * The same SHA-256 as sidecar/identity.py makes (tests/plugin/test_identity.py compares them on one config.php).
     */
    public function test_fingerprint(): void {
        global $CFG, $DB;
        $this->resetAfterTest();
        $CFG->wwwroot = 'https://moodle.example.test';
        unset($CFG->wwwrootdefault);
        $CFG->dbhost = 'db.example.test';
        $CFG->dbname = 'moodle';
        $CFG->dboptions = ['dbport' => '3307', 'dbsocket' => ''];
        $facts = "https://moodle.example.test\x1fdb.example.test:3307\x1fmoodle";
        $this->assertSame(hash('sha256', $facts), identity::fingerprint());
        $CFG->dboptions = [];
        $port = $DB->get_dbfamily() === 'postgres' ? 5432 : 3306;
        $facts = "https://moodle.example.test\x1fdb.example.test:$port\x1fmoodle";
        $this->assertSame(hash('sha256', $facts), identity::fingerprint());
    }
}
