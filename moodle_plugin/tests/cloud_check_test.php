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

use core\check\result;
use local_manireports\check\cloud_callback;
use local_manireports\check\cloud_failures;
use local_manireports\check\cloud_heartbeat;
use local_manireports\check\cloud_takenover;
use local_manireports\check\cloud_waiting;

/**
 * Status checks.
 *
 * @package   local_manireports
 * @copyright 2026 ManiReports
 * @license   https://www.gnu.org/copyleft/gpl.html GNU GPL v3 or later
 */
#[\PHPUnit\Framework\Attributes\CoversClass(cloud_heartbeat::class)]
final class cloud_check_test extends \advanced_testcase {
    #[\Override]
    protected function setUp(): void {
        parent::setUp();
        $this->resetAfterTest();
    }

    /**
     * Moodle finds them.
     */
    public function test_they_are_found(): void {
        $function = get_plugins_with_function('status_checks', 'lib.php')['local']['manireports'];
        $checks = $function();
        $this->assertCount(5, $checks);
        foreach ($checks as $check) {
            $this->assertNotSame('', $check->get_result()->get_summary());
            $this->assertInstanceOf(\action_link::class, $check->get_action_link());
        }
    }

    /**
     * Never there, there, kept from sending, gone, gone with mail.
     */
    public function test_heartbeat(): void {
        global $DB;
        $status = fn(): string => (new cloud_heartbeat())->get_result()->get_status();
        $this->assertSame(result::NA, $status());
        $row = $DB->get_record('manireports_cloud_sidecar', []);
        $row->lease_token = 'x';
        $row->last_seen = time();
        $DB->update_record('manireports_cloud_sidecar', $row);
        $this->assertSame(result::OK, $status());
        $row->state = json_encode(['blocked' => ['cron is <disabled>'], 'lock_doubts' => []]);
        $DB->update_record('manireports_cloud_sidecar', $row);
        $this->assertSame(result::WARNING, $status());
        $details = (new cloud_heartbeat())->get_result()->get_details();
        $this->assertStringContainsString('cron is &lt;disabled&gt;', $details);
        $row->last_seen = time() - 600;
        $DB->update_record('manireports_cloud_sidecar', $row);
        $this->assertSame(result::WARNING, $status());
        $this->getDataGenerator()->get_plugin_generator('local_manireports')->create_job();
        $this->assertSame(result::ERROR, $status());
    }

    /**
     * The oldest batch that could leave; what somebody holds does not count.
     */
    public function test_waiting(): void {
        global $DB;
        $status = fn(): string => (new cloud_waiting())->get_result()->get_status();
        $this->assertSame(result::OK, $status());
        $generator = $this->getDataGenerator()->get_plugin_generator('local_manireports');
        $job = $generator->create_job(['created_at' => time() - 3000]);
        $this->assertSame(result::WARNING, $status());
        $DB->set_field('manireports_cloud_import_batches', 'created_at', time() - 8000, ['id' => $job->batch]);
        $this->assertSame(result::ERROR, $status());
        $DB->set_field('manireports_cloud_jobs', 'paused', 1, ['id' => $job->id]);
        $this->assertSame(result::OK, $status());
    }

    /**
     * Failures within an hour; suppressed addresses are none.
     */
    public function test_failures(): void {
        global $DB;
        $status = fn(): string => (new cloud_failures())->get_result()->get_status();
        $this->assertSame(result::OK, $status());
        $generator = $this->getDataGenerator()->get_plugin_generator('local_manireports');
        $suppressed = ['status' => 'permanently_failed', 'error_code' => 'suppressed'];
        $generator->create_job([], [$suppressed, ['status' => 'sent']]);
        $this->assertSame(result::OK, $status());
        $job = $generator->create_job([], [['status' => 'failed'], ['status' => 'sent']]);
        $this->assertSame(result::WARNING, $status());
        $generator->create_job([], array_fill(0, 10, ['status' => 'unknown']));
        $this->assertSame(result::ERROR, $status());
        $DB->set_field_select('manireports_cloud_recipients', 'timemodified', time() - 2 * HOURSECS, '1 = 1');
        $this->assertSame(result::OK, $status());
    }

    /**
     * A cloud company has a key of its own, or that of row 0.
     */
    public function test_callback(): void {
        global $DB;
        $status = fn(): string => (new cloud_callback())->get_result()->get_status();
        $company = fn(array $values) => $DB->insert_record('manireports_cloud_company_settings', (object)$values);
        $company(['company_id' => 5, 'provider' => 'smtp', 'enabled' => 1]);
        $this->assertSame(result::NA, $status());
        $id = $company(['company_id' => 6, 'provider' => 'aws', 'enabled' => 1]);
        $this->assertSame(result::ERROR, $status());
        $DB->set_field('manireports_cloud_company_settings', 'callback_key', 'k', ['id' => $id]);
        $this->assertSame(result::ERROR, $status());
        $DB->set_field('manireports_cloud_company_settings', 'callback_secret', 'sodium:x', ['id' => $id]);
        $this->assertSame(result::OK, $status());
        $company(['company_id' => 0, 'provider' => 'aws', 'callback_key' => 'd', 'callback_secret' => 'sodium:y']);
        $company(['company_id' => 7, 'enabled' => 1]);
        $this->assertSame(result::OK, $status());
    }

    /**
     * Companies of an earlier version, until they are enabled.
     */
    public function test_takenover(): void {
        global $DB;
        $status = fn(): string => (new cloud_takenover())->get_result()->get_status();
        $this->assertSame(result::NA, $status());
        $id = $DB->insert_record('manireports_cloud_company_settings', (object)['company_id' => 3]);
        set_config('cloudtakenover', '3', 'local_manireports');
        $this->assertSame(result::WARNING, $status());
        $DB->set_field('manireports_cloud_company_settings', 'enabled', 1, ['id' => $id]);
        $this->assertSame(result::OK, $status());
    }
}
