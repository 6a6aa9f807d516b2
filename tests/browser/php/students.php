<?php
// Enrols so many students who have not been in a course for 60 days, as one company's where there is IOMAD.
//
//     php students.php MOODLE_DIR COUNT COMPANYID COURSEID

define('CLI_SCRIPT', true);
require($argv[1] . '/config.php');
require_once($CFG->dirroot . '/user/lib.php');
[, , $count, $companyid, $courseid] = array_map(fn($x) => is_numeric($x) ? (int)$x : $x, $argv);

if (!$courseid) {
    require_once($CFG->dirroot . '/course/lib.php');
    $courseid = create_course((object)['fullname' => 'Fire Safety', 'shortname' => 'fire', 'category' => 1])->id;
}
$enrol = enrol_get_plugin('manual');
$instance = $DB->get_record('enrol', ['courseid' => $courseid, 'enrol' => 'manual']);
if (!$instance) {
    $id = $enrol->add_instance(get_course($courseid));
    $instance = $DB->get_record('enrol', ['id' => $id]);
}
$role = $DB->get_field('role', 'id', ['shortname' => 'student'], MUST_EXIST);
$old = time() - 60 * DAYSECS;
for ($i = 1; $i <= $count; $i++) {
    $id = user_create_user((object)['username' => "student$i", 'password' => 'x', 'firstname' => 'Anna', 'lastname' => "Ødegård $i",
        'email' => "student$i@learn.example.test", 'auth' => 'manual', 'confirmed' => 1, 'mnethostid' => $CFG->mnet_localhost_id],
        false, false);
    if ($companyid) {
        $top = company::get_company_parentnode($companyid);
        company::upsert_company_user($id, $companyid, $top->id, 0, false, false, true);
    }
    $enrol->enrol_user($instance, $id, $role, $old);
    $DB->insert_record('user_lastaccess', ['userid' => $id, 'courseid' => $courseid, 'timeaccess' => $old]);
}
$DB->set_field('user_enrolments', 'timecreated', $old, ['enrolid' => $instance->id]);
echo $courseid, "\n";
